/*
 * Trains a network by dlADMM on the images that are part of the library, and prints the accuracy that
 * `dualstep train --iterations ITERATIONS --samples SAMPLES --hidden 64,32 --seed 7` prints.
 *
 *     cc -std=c11 train.c $(pkg-config --cflags --libs dualstep) -o train
 *     ./train [ITERATIONS [SAMPLES [CHECKPOINT]]]
 */
#include <dualstep.h>
#include <stdio.h>
#include <stdlib.h>

/* Ends the program where a call fails; what it leaves behind goes with the process. */
static void check(dualstep_status status, const char *what) {
    if (status != DUALSTEP_OK) {
        fprintf(stderr, "%s: %s\n", what, dualstep_last_error_message());
        exit(EXIT_FAILURE);
    }
}

/* Called after every iteration, while the device is busy with the next ones. */
static int on_record(const dualstep_record *record, void *user) {
    dualstep_record *last = user;
    *last = *record;
    printf("%3u: objective %10.3f, test accuracy %.2f %%\n", (unsigned)record->iteration, record->objective,
           100.0 * record->test_accuracy);
    return 0;
}

int main(int argc, char **argv) {
    unsigned iterations = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 10;
    size_t samples = argc > 2 ? strtoul(argv[2], NULL, 10) : 2000;
    const char *checkpoint = argc > 3 ? argv[3] : NULL;

    dualstep_gpu *gpu;
    check(dualstep_gpu_open(NULL, &gpu), "cannot open a device");
    dualstep_capabilities capabilities = {.size = sizeof capabilities};
    check(dualstep_gpu_describe(gpu, &capabilities), "cannot describe the device");
    printf("dualstep %s on %s\n", dualstep_version(), capabilities.adapter);

    dualstep_data *data;
    check(dualstep_data_load("embedded", &data), "cannot load the images");

    const uint32_t hidden[] = {64, 32};
    dualstep_training_settings settings = {.size = sizeof settings};
    check(dualstep_training_settings_default(&settings), "cannot get the defaults");
    settings.hidden = hidden;
    settings.hidden_count = sizeof hidden / sizeof *hidden;
    settings.samples = samples;
    settings.seed = 7;

    dualstep_training *training;
    check(dualstep_training_new(gpu, &settings, data, &training), "cannot begin");
    dualstep_record last = {0};
    check(dualstep_training_run(training, iterations, on_record, &last), "training failed");
    printf("training data: accuracy %.2f %%, cost %.4f\n", 100.0 * last.train_accuracy, last.train_cost);
    printf("test data: accuracy %.2f %%, cost %.4f\n", 100.0 * last.test_accuracy, last.test_cost);

    if (checkpoint != NULL) {
        check(dualstep_training_save(training, checkpoint, 0), "cannot save");
        /* What `dualstep eval CHECKPOINT` prints. */
        dualstep_scores scores = {.size = sizeof scores};
        check(dualstep_training_scores(training, DUALSTEP_TEST, &scores), "cannot score");
        printf("checkpoint: accuracy %.2f %%, cost %.4f\n", 100.0 * scores.accuracy, scores.cost);
    }
    dualstep_training_free(training);
    dualstep_data_free(data);
    dualstep_gpu_free(gpu);
    return EXIT_SUCCESS;
}
