/*
 * A model of the program's own, stepped by BADM: softmax regression of images, whose gradients are computed here, on the
 * processor. Each batch is cut into four sub-batches with a gradient each, all taken at the same weights. At the end the
 * weights are brought to 2:4: of every four in a row two stay.
 *
 *     cc -std=c11 step.c $(pkg-config --cflags --libs dualstep) -lm -o step
 *     ./step [STEPS]
 */
#include <dualstep.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FEATURES = 784, CLASSES = 10, SUB_BATCHES = 4, SUB_BATCH = 64, TESTED = 2000 };

/* The model's tensors, in the order of the slab. */
enum { WEIGHTS, BIASES };

/* Ends the program where a call fails; what it leaves behind goes with the process. */
static void check(dualstep_status status, const char *what) {
    if (status != DUALSTEP_OK) {
        fprintf(stderr, "%s: %s\n", what, dualstep_last_error_message());
        exit(EXIT_FAILURE);
    }
}

static float weights[CLASSES * FEATURES], biases[CLASSES];
static float weight_gradient[CLASSES * FEATURES], bias_gradient[CLASSES];
static float images[SUB_BATCH * FEATURES], tested[TESTED * FEATURES];
static uint32_t labels[SUB_BATCH], tested_labels[TESTED];

/* The probability of each class. */
static void classify(const float *image, float *probability) {
    float most = -INFINITY, sum = 0.0f;
    for (int c = 0; c < CLASSES; c++) {
        probability[c] = biases[c];
        for (int f = 0; f < FEATURES; f++) probability[c] += weights[c * FEATURES + f] * image[f];
        most = fmaxf(most, probability[c]);
    }
    for (int c = 0; c < CLASSES; c++) sum += probability[c] = expf(probability[c] - most);
    for (int c = 0; c < CLASSES; c++) probability[c] /= sum;
}

/* The gradient of the mean cross-entropy over the sub-batch in `images`. */
static void differentiate(void) {
    memset(weight_gradient, 0, sizeof weight_gradient);
    memset(bias_gradient, 0, sizeof bias_gradient);
    for (int i = 0; i < SUB_BATCH; i++) {
        const float *image = images + i * FEATURES;
        float probability[CLASSES];
        classify(image, probability);
        for (int c = 0; c < CLASSES; c++) {
            float error = (probability[c] - (c == (int)labels[i])) / SUB_BATCH;
            for (int f = 0; f < FEATURES; f++) weight_gradient[c * FEATURES + f] += error * image[f];
            bias_gradient[c] += error;
        }
    }
}

static double accuracy(void) {
    int hits = 0;
    for (int i = 0; i < TESTED; i++) {
        float probability[CLASSES];
        classify(tested + i * FEATURES, probability);
        int best = 0;
        for (int c = 1; c < CLASSES; c++) best = probability[c] > probability[best] ? c : best;
        hits += best == (int)tested_labels[i];
    }
    return 100.0 * hits / TESTED;
}

/* One of the model's tensors in a row of the slab. */
static dualstep_tensor *part(const dualstep_slab *slab, const dualstep_tensor *rows, uint32_t row, size_t index) {
    dualstep_tensor *tensor;
    check(dualstep_slab_part(slab, rows, row, index, &tensor), "cannot find a tensor in its row");
    return tensor;
}

int main(int argc, char **argv) {
    int steps = argc > 1 ? atoi(argv[1]) : 60;

    dualstep_gpu *gpu;
    dualstep_data *data;
    check(dualstep_gpu_open(NULL, &gpu), "cannot open a device");
    check(dualstep_data_load("embedded", &data), "cannot load the images");
    check(dualstep_data_read(data, DUALSTEP_TEST, 0, TESTED, tested, tested_labels), "cannot read images");
    dualstep_data_sizes sizes = {.size = sizeof sizes};
    check(dualstep_data_describe(data, &sizes), "cannot tell how many images there are");

    /* Parameters are one row of a slab, and gradients a row for each sub-batch. */
    const dualstep_shape shapes[] = {[WEIGHTS] = {CLASSES, FEATURES}, [BIASES] = {1, CLASSES}};
    dualstep_slab *slab;
    uint32_t length;
    check(dualstep_slab_new(shapes, 2, &slab), "cannot lay the model out");
    check(dualstep_slab_length(slab, &length), "cannot lay the model out");
    dualstep_tensor *parameters, *gradients;
    check(dualstep_tensor_zeros(gpu, (dualstep_shape){1, length}, DUALSTEP_F32, &parameters), "no parameters");
    check(dualstep_tensor_zeros(gpu, (dualstep_shape){SUB_BATCHES, length}, DUALSTEP_F32, &gradients),
          "no gradients");

    dualstep_badm_settings settings = {.size = sizeof settings};
    check(dualstep_badm_settings_default(&settings, SUB_BATCHES, 3e-3), "cannot get the defaults");
    settings.storage = DUALSTEP_BF16; /* half the memory for duals and second moments */
    dualstep_optimizer *badm;
    dualstep_step *step;
    check(dualstep_badm_new(&settings, parameters, &badm), "cannot make the optimizer");
    check(dualstep_badm_record(badm, gradients, NULL, 0, &step), "cannot record its step");

    dualstep_tensor *w = part(slab, parameters, 0, WEIGHTS), *b = part(slab, parameters, 0, BIASES);
    dualstep_tensor *w_gradient[SUB_BATCHES], *b_gradient[SUB_BATCHES];
    for (uint32_t n = 0; n < SUB_BATCHES; n++) {
        w_gradient[n] = part(slab, gradients, n, WEIGHTS);
        b_gradient[n] = part(slab, gradients, n, BIASES);
    }

    size_t next = 0;
    for (int k = 0; k < steps; k++) {
        check(dualstep_tensor_read(w, weights, sizeof weights), "cannot read the weights");
        check(dualstep_tensor_read(b, biases, sizeof biases), "cannot read the biases");
        for (int n = 0; n < SUB_BATCHES; n++) {
            check(dualstep_data_read(data, DUALSTEP_TRAIN, next, SUB_BATCH, images, labels), "cannot read images");
            next = next + 2 * SUB_BATCH <= sizes.train ? next + SUB_BATCH : 0;
            differentiate();
            check(dualstep_tensor_write(w_gradient[n], weight_gradient, sizeof weight_gradient), "cannot write");
            check(dualstep_tensor_write(b_gradient[n], bias_gradient, sizeof bias_gradient), "cannot write");
        }
        check(dualstep_step_run(step, 1), "cannot step");
    }
    check(dualstep_optimizer_check(badm), "a step was refused");
    check(dualstep_tensor_read(w, weights, sizeof weights), "cannot read the weights");
    check(dualstep_tensor_read(b, biases, sizeof biases), "cannot read the biases");
    printf("after %d steps: accuracy %.2f %%\n", steps, accuracy());

    dualstep_tensor *pruned;
    check(dualstep_nm_project(w, 2, 4, &pruned, NULL), "cannot prune");
    check(dualstep_tensor_read(pruned, weights, sizeof weights), "cannot read the pruned weights");
    int kept = 0;
    for (int i = 0; i < CLASSES * FEATURES; i++) kept += weights[i] != 0.0f;
    printf("pruned to 2:4: accuracy %.2f %%, %d of %d weights left\n", accuracy(), kept, CLASSES * FEATURES);

    for (int n = 0; n < SUB_BATCHES; n++) {
        dualstep_tensor_free(w_gradient[n]);
        dualstep_tensor_free(b_gradient[n]);
    }
    dualstep_tensor_free(pruned);
    dualstep_tensor_free(w);
    dualstep_tensor_free(b);
    dualstep_step_free(step);
    dualstep_optimizer_free(badm);
    dualstep_tensor_free(gradients);
    dualstep_tensor_free(parameters);
    dualstep_slab_free(slab);
    dualstep_data_free(data);
    dualstep_gpu_free(gpu);
    return EXIT_SUCCESS;
}
