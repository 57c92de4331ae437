/*
 * dualstep: training and sparsifying neural networks by splitting methods (ADMM) on any GPU.
 *
 * capi/tests/header.rs writes this file from the library's sources.
 *
 * Calls. Almost every function returns a dualstep_status, 0 (DUALSTEP_OK) if it did what it is for; results go where
 * pointers at the end of its arguments say, and are NULL or 0 if it failed. dualstep_last_error_message() tells what was
 * wrong, on the thread where it was. Nothing is printed. A fault of the library's own, DUALSTEP_ERROR_INTERNAL, is
 * returned as well: it ends neither the process nor the thread.
 *
 * Handles. What functions called ..._new, ..._zeros, ..._open, ..._load, ..._record and the like make is freed by the
 * ..._free of its type, in any order: objects keep what they need of each other. A handle is a number in a pointer's
 * clothes; nobody may look behind it. One that is NULL, was freed, or is of another type is an error and never more than
 * that. Devices, tensors, slabs and data sets may be used by any number of threads at once. Others are used by one call at
 * a time: a second one, from another thread or from within a callback, fails with DUALSTEP_ERROR_BUSY and does nothing.
 *
 * Structures. Those with a field `size` grow, at their end, in later versions. A program sets `size` to sizeof of the
 * structure as it was compiled, calls the structure's ..._default where there is one, and changes what it wants to:
 *
 *     dualstep_training_settings settings = {.size = sizeof settings};
 *     dualstep_training_settings_default(&settings);
 *     settings.seed = 7;
 *
 * So programs go on working with later versions of the library, without being compiled again: fields that a program does
 * not know of have the values that leave everything as it was. Newer programs work with older libraries as long as they
 * leave fields that the library does not know of at what ..._default has set them to (DUALSTEP_ERROR_VERSION). Numbers of
 * enums never change. Before version 1.0 all this holds as long as the minor version stays; its number is part of the shared
 * library's name.
 *
 * Pointers. Texts are UTF-8 and end with a NUL. Behind every pointer that is not NULL there must be as much memory as the
 * function's description says; nobody may write to it during the call, and the library keeps no pointer after it. Functions
 * of a program's that the library calls must return.
 *
 * Waiting. Functions that submit work do not wait for the device; those that read something back do, and say so.
 */

#ifndef DUALSTEP_H
#define DUALSTEP_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The version of this header; dualstep_version() tells that of the library. */
#define DUALSTEP_VERSION_MAJOR 0
#define DUALSTEP_VERSION_MINOR 1
#define DUALSTEP_VERSION_PATCH 0

/* ---- Errors and version ---------------------------------------------------------------------------------- */

// How a call ended. Its number never changes; later versions may add others.
typedef enum {
  // It did what it is for.
  DUALSTEP_OK = 0,
  // A pointer is NULL that must not be.
  DUALSTEP_ERROR_NULL = 1,
  // A handle is none of this library's, of another kind, or freed.
  DUALSTEP_ERROR_HANDLE = 2,
  // Another call with the same handle is under way, on another thread or around the callback that this one is made from.
  // Nothing was done; call again later.
  DUALSTEP_ERROR_BUSY = 3,
  // An argument cannot be what it is: a number of bytes, a text that is not UTF-8, a code that no enum has.
  DUALSTEP_ERROR_ARGUMENT = 4,
  // A structure says something that only later versions of this library know.
  DUALSTEP_ERROR_VERSION = 5,
  // A callback asked for an early end.
  DUALSTEP_STOPPED = 6,
  // No adapter is what was asked for.
  DUALSTEP_ERROR_NO_ADAPTER = 10,
  // The adapter refused, or lacks something that is needed.
  DUALSTEP_ERROR_DEVICE = 11,
  // The device was lost. Free what belongs to it, open it again, and go on from a checkpoint.
  DUALSTEP_ERROR_DEVICE_FAULT = 12,
  // Shapes or storage types of tensors disagree.
  DUALSTEP_ERROR_SHAPE = 13,
  // A tensor that is written shares its memory with another one.
  DUALSTEP_ERROR_ALIASED = 14,
  // It exceeds what the device allows.
  DUALSTEP_ERROR_LIMIT = 15,
  // The device's driver refused a kernel.
  DUALSTEP_ERROR_SHADER = 16,
  // Tensors are used in a way they cannot be.
  DUALSTEP_ERROR_PLAN = 17,
  // A value was NaN or infinite. The state before it is kept.
  DUALSTEP_ERROR_NOT_FINITE = 18,
  // Samples are not usable.
  DUALSTEP_ERROR_SAMPLES = 19,
  // A setting is out of its range.
  DUALSTEP_ERROR_SETTING = 20,
  // A data set is not what it should be.
  DUALSTEP_ERROR_DATA = 21,
  // A checkpoint cannot be used.
  DUALSTEP_ERROR_CHECKPOINT = 22,
  // A file cannot be read or written.
  DUALSTEP_ERROR_IO = 23,
  // The library is at fault. The handle that the call was made with refuses all others; free it.
  DUALSTEP_ERROR_INTERNAL = 99,
} dualstep_status;

// What the last call that failed on this thread has to say, in one line of UTF-8 or, where a driver speaks, several; an
// empty text if none has failed. Never NULL. It stays valid, and the same, until the next call that fails on this thread:
// calls that succeed, such as those that free what a failed one leaves behind, do not touch it.
const char *dualstep_last_error_message(void);

// The name of a status, such as "DUALSTEP_ERROR_NULL"; "unknown" for a number that is none. Static.
const char *dualstep_status_name(int32_t status);

// The version of the library that is linked, such as "0.1.0". Static.
const char *dualstep_version(void);

/* ---- Devices --------------------------------------------------------------------------------------------- */

// The interface that a device is reached through.
typedef enum {
  // Any.
  DUALSTEP_BACKEND_ANY = 0,
  // Vulkan.
  DUALSTEP_BACKEND_VULKAN = 1,
  // Metal.
  DUALSTEP_BACKEND_METAL = 2,
  // Direct3D 12.
  DUALSTEP_BACKEND_DX12 = 3,
  // OpenGL and OpenGL ES.
  DUALSTEP_BACKEND_GL = 4,
} dualstep_backend;

// What kind of device it is.
typedef enum {
  // None of the others.
  DUALSTEP_KIND_OTHER = 0,
  // A GPU that shares the processor's memory.
  DUALSTEP_KIND_INTEGRATED = 1,
  // A GPU with memory of its own.
  DUALSTEP_KIND_DISCRETE = 2,
  // A GPU of a virtual machine's.
  DUALSTEP_KIND_VIRTUAL = 3,
  // A driver that computes on the processor.
  DUALSTEP_KIND_CPU = 4,
} dualstep_kind;

// A device. Any number of threads may use it at once. What was made with it keeps what it needs of it when it is freed.
typedef struct dualstep_gpu dualstep_gpu;

// Which adapter to open.
typedef struct {
  // sizeof(dualstep_gpu_options).
  size_t size;
  // Part of its name, or its number in the list of `dualstep adapters`. NULL takes the fastest kind there is.
  const char *adapter;
  // Only adapters that are reached this way.
  dualstep_backend backend;
  // Not 0: the library's kernels check every index. They are tested to need none; this is for hunting drivers' faults.
  uint32_t is_checked;
} dualstep_gpu_options;

// What a device can do. Texts last as long as the device's handle.
typedef struct {
  // sizeof(dualstep_capabilities).
  size_t size;
  // The adapter's name, as its driver gives it.
  const char *adapter;
  // The driver's name and version.
  const char *driver;
  // All of this in several lines, for people.
  const char *text;
  // How it is reached.
  dualstep_backend backend;
  // What kind of device it is.
  dualstep_kind kind;
  // The most bytes that one tensor may take.
  uint64_t tensor_limit;
  // Bytes of a workgroup's memory.
  uint32_t workgroup_memory;
  // The most workgroups in each dimension.
  uint32_t group_limit;
  // Lanes of the smallest subgroup; 0 where there are no subgroup operations.
  uint32_t least_subgroup;
  // Lanes of the largest subgroup; 0 where there are no subgroup operations.
  uint32_t largest_subgroup;
  // 1 where shaders compute with 16-bit floats, else 0. Tensors store them anywhere.
  uint32_t has_f16;
  // 1 where passes are timed by the device's clock, else 0.
  uint32_t has_timestamps;
} dualstep_capabilities;

// What was done through a device since it was opened, counted exactly.
typedef struct {
  // sizeof(dualstep_counters).
  size_t size;
  // Kernels dispatched.
  uint64_t dispatches;
  // Submissions to the queue.
  uint64_t submits;
  // Times that the program waited for the device.
  uint64_t host_waits;
  // Bytes of device memory that tensors hold now.
  uint64_t memory_in_use;
  // The most that they ever held at once.
  uint64_t memory_peak;
  // Bytes kept for reuse.
  uint64_t memory_idle;
} dualstep_counters;

// Sets options to what they are where nothing is said. Set `size` first.
dualstep_status dualstep_gpu_options_default(dualstep_gpu_options *options);

// Opens an adapter, that of `options` or, with NULL in its place, the fastest kind there is.
dualstep_status dualstep_gpu_open(const dualstep_gpu_options *options, dualstep_gpu **gpu);

// Tells what a device can do. Set `size` first.
dualstep_status dualstep_gpu_describe(const dualstep_gpu *gpu, dualstep_capabilities *capabilities);

// Tells what was done through a device. Set `size` first.
dualstep_status dualstep_gpu_counters(const dualstep_gpu *gpu, dualstep_counters *counters);

// Waits until everything that was submitted is done.
dualstep_status dualstep_gpu_wait(const dualstep_gpu *gpu);

// Gives device memory back that is kept for reuse.
dualstep_status dualstep_gpu_trim(const dualstep_gpu *gpu);

// Frees a device; NULL is allowed. What was made with it goes on working.
dualstep_status dualstep_gpu_free(dualstep_gpu *gpu);

/* ---- Tensors --------------------------------------------------------------------------------------------- */

// What one element is stored as. Arithmetic is in 32-bit floats whatever the storage.
typedef enum {
  // 32-bit floats.
  DUALSTEP_F32 = 0,
  // 16-bit floats of IEEE 754.
  DUALSTEP_F16 = 1,
  // The upper halves of 32-bit floats.
  DUALSTEP_BF16 = 2,
  // 32-bit words, of masks.
  DUALSTEP_U32 = 3,
} dualstep_storage;

// Where the tensors of a model lie in one row of parameters.
typedef struct dualstep_slab dualstep_slab;

// A matrix on a device, or a part of one. Any number of threads may use it at once.
typedef struct dualstep_tensor dualstep_tensor;

// Rows and columns of a matrix. This structure will never grow.
typedef struct {
  // Rows.
  uint32_t rows;
  // Columns.
  uint32_t columns;
} dualstep_shape;

// Makes a tensor of zeros.
dualstep_status dualstep_tensor_zeros(const dualstep_gpu *gpu,
                                      dualstep_shape shape,
                                      dualstep_storage storage,
                                      dualstep_tensor **tensor);

// Replaces a tensor's elements, before anything that is submitted later. `values` are its elements row after row, as they
// are stored, without gaps; `bytes` is what they take, rows * columns * (4 or 2).
dualstep_status dualstep_tensor_write(const dualstep_tensor *tensor,
                                      const void *values,
                                      size_t bytes);

// Reads a tensor's elements, in the form that dualstep_tensor_write takes, after everything submitted so far. Waits for the
// device.
dualstep_status dualstep_tensor_read(const dualstep_tensor *tensor,
                                     void *values,
                                     size_t bytes);

// Tells a tensor's shape.
dualstep_status dualstep_tensor_shape(const dualstep_tensor *tensor, dualstep_shape *shape);

// Tells what a tensor's elements are stored as.
dualstep_status dualstep_tensor_storage(const dualstep_tensor *tensor, dualstep_storage *storage);

// Frees a tensor; NULL is allowed. Its memory goes once no part of it and no step needs it.
dualstep_status dualstep_tensor_free(dualstep_tensor *tensor);

// Lays the tensors of a model out in one row, in the order given, each where a device can bind it. Between and after them
// the row has some elements that belong to none and stay 0.
dualstep_status dualstep_slab_new(const dualstep_shape *shapes,
                                  size_t count,
                                  dualstep_slab **slab);

// Tells how many elements a row has: a tensor of parameters is 1 by as many, and gradients are S by as many.
dualstep_status dualstep_slab_length(const dualstep_slab *slab, uint32_t *length);

// Makes a tensor of the model's, number `index`, out of one row of `rows`: it shares that row's memory.
dualstep_status dualstep_slab_part(const dualstep_slab *slab,
                                   const dualstep_tensor *rows,
                                   uint32_t row,
                                   size_t index,
                                   dualstep_tensor **part);

// Frees a slab; NULL is allowed.
dualstep_status dualstep_slab_free(dualstep_slab *slab);

/* ---- Optimizers ------------------------------------------------------------------------------------------ */

// Which duals of BADM belong to which sub-batch.
typedef enum {
  // One for each number of a sub-batch, shared by all batches, which may be drawn anew each epoch.
  DUALSTEP_SLOTS_SHARED = 0,
  // One for each sub-batch of each of `batches` batches, which must stay as they are: the paper's.
  DUALSTEP_SLOTS_PER_BATCH = 1,
} dualstep_slots;

// What second moments of BADM are made of.
typedef enum {
  // Squares of duals: the paper's.
  DUALSTEP_SECOND_MOMENT_DUAL = 0,
  // Squares of gradients.
  DUALSTEP_SECOND_MOMENT_GRADIENT = 1,
  // There are none, and duals are not divided by anything.
  DUALSTEP_SECOND_MOMENT_OFF = 2,
} dualstep_second_moment;

// How an optimizer's steps become shorter. Refused steps do not count.
typedef enum {
  // They do not.
  DUALSTEP_DECAY_NONE = 0,
  // Evenly, to 0 after `decay_steps` steps.
  DUALSTEP_DECAY_LINEAR = 1,
  // Along half a cosine, to 0 after `decay_steps` steps.
  DUALSTEP_DECAY_COSINE = 2,
  // By `decay_factor` after every `decay_steps` steps.
  DUALSTEP_DECAY_STEPPED = 3,
} dualstep_decay;

// A first-order method.
typedef enum {
  // Gradient descent.
  DUALSTEP_SGD = 0,
  // Heavy ball.
  DUALSTEP_MOMENTUM = 1,
  // Nesterov's momentum.
  DUALSTEP_NESTEROV = 2,
  // AdaGrad.
  DUALSTEP_ADAGRAD = 3,
  // Adadelta.
  DUALSTEP_ADADELTA = 4,
  // RMSProp.
  DUALSTEP_RMSPROP = 5,
  // Adam.
  DUALSTEP_ADAM = 6,
  // Adam whose weight decay does not pass through its normalisation.
  DUALSTEP_ADAMW = 7,
  // NAdam.
  DUALSTEP_NADAM = 8,
  // Adamax.
  DUALSTEP_ADAMAX = 9,
} dualstep_method;

// BADM or a first-order method, over one row of parameters. One call at a time may use it or a step of its.
typedef struct dualstep_optimizer dualstep_optimizer;

// A step that was recorded: kernels with all that they work on. One call at a time may use it or what it is a step of.
typedef struct dualstep_step dualstep_step;

// Settings of BADM (Wang, Zhou, Li 2024).
typedef struct {
  // sizeof(dualstep_badm_settings).
  size_t size;
  // S: sub-batches of a full batch.
  uint32_t sub_batches;
  // Which duals belong to which sub-batch.
  dualstep_slots slots;
  // Batches of an epoch, for DUALSTEP_SLOTS_PER_BATCH.
  uint32_t batches;
  // What second moments are made of.
  dualstep_second_moment second_moment;
  // The weight of staying close to the parameters.
  double rho;
  // Of the duals; 1/sigma is what a normalised step is as long as.
  double sigma;
  // How slowly second moments change.
  double beta;
  // Added to the root of a second moment.
  double epsilon;
  // What second moments start at.
  double initial_moment;
  // Not 0: they are corrected for starting at zero.
  uint32_t bias_correction;
  // What duals and second moments are stored as: DUALSTEP_F32 or, rounded stochastically, DUALSTEP_BF16 or DUALSTEP_F16.
  dualstep_storage storage;
  // Of stochastic rounding.
  uint32_t seed;
  // How 1/sigma becomes smaller.
  dualstep_decay decay;
  // Steps of the decay.
  uint32_t decay_steps;
  // Not 0: gradients are not tested for NaN and infinities, which saves 4 bytes an element.
  uint32_t trust_gradients;
  // Factor of DUALSTEP_DECAY_STEPPED.
  double decay_factor;
  // The most bytes that duals and second moments may take.
  uint64_t memory_limit;
} dualstep_badm_settings;

// Settings of a first-order method, by PyTorch's conventions. A method looks at those that name it.
typedef struct {
  // sizeof(dualstep_first_order_settings).
  size_t size;
  // The method.
  dualstep_method method;
  // Not 0: gradients are not tested for NaN and infinities, which saves 4 bytes an element.
  uint32_t trust_gradients;
  // The learning rate, before it decays.
  double learning_rate;
  // Momentum of MOMENTUM and NESTEROV; beta 1 of ADAM, ADAMW, NADAM and ADAMAX.
  double beta_1;
  // Beta 2 of ADAM, ADAMW, NADAM and ADAMAX; alpha of RMSPROP; rho of ADADELTA.
  double beta_2;
  // Epsilon of all but SGD, MOMENTUM and NESTEROV.
  double epsilon;
  // ADAMW shrinks parameters by this times the learning rate; others add this times the parameters to the gradient.
  double weight_decay;
  // What ADAGRAD's sums of squares start at.
  double initial;
  // Of NADAM's momentum.
  double momentum_decay;
  // How the learning rate becomes smaller.
  dualstep_decay decay;
  // Steps of the decay.
  uint32_t decay_steps;
  // Factor of DUALSTEP_DECAY_STEPPED.
  double decay_factor;
} dualstep_first_order_settings;

// What an optimizer's steps came to so far.
typedef struct {
  // sizeof(dualstep_tally).
  size_t size;
  // Steps taken.
  uint32_t steps;
  // Steps refused, because a gradient held NaN, an infinity or a number whose square is none of f32. They changed nothing.
  uint32_t refused;
  // The first that was refused, of those taken and refused, counted from 1; 0 if none was.
  uint32_t first_refused;
  // Its row of the gradients, hence the sub-batch.
  uint32_t row;
  // The first parameter in that row whose gradient is unusable.
  uint64_t parameter;
} dualstep_tally;

// What one run of a recorded step does, exactly.
typedef struct {
  // sizeof(dualstep_counts).
  size_t size;
  // Kernels dispatched.
  uint64_t dispatches;
  // Floating-point operations.
  uint64_t flops;
  // Bytes read and written.
  uint64_t bytes;
} dualstep_counts;

// Sets settings of BADM to those to start with for so many sub-batches: a step is as long as Adam's at that learning rate
// to begin with, and up to twice that later. Set `size` first.
dualstep_status dualstep_badm_settings_default(dualstep_badm_settings *settings,
                                               uint32_t sub_batches,
                                               double learning_rate);

// Sets settings of BADM to the paper's, with a slot for each sub-batch of each of `batches`; rho and sigma are those of its
// tables. Set `size` first.
dualstep_status dualstep_badm_settings_paper(dualstep_badm_settings *settings,
                                             uint32_t sub_batches,
                                             uint32_t batches,
                                             double rho,
                                             double sigma);

// Sets settings of a first-order method to PyTorch's defaults. Set `size` first.
dualstep_status dualstep_first_order_settings_default(dualstep_first_order_settings *settings,
                                                      dualstep_method method);

// BADM at its first step. `parameters` are one row of DUALSTEP_F32; they are changed in place.
dualstep_status dualstep_badm_new(const dualstep_badm_settings *settings,
                                  const dualstep_tensor *parameters,
                                  dualstep_optimizer **optimizer);

// A first-order method at its first step. `parameters` are one row of DUALSTEP_F32; they are changed in place. With NULL
// for settings it is Adam.
dualstep_status dualstep_first_order_new(const dualstep_first_order_settings *settings,
                                         const dualstep_tensor *parameters,
                                         dualstep_optimizer **optimizer);

// Records a step of BADM on gradients that will be in `gradients` when it is run: a row for each sub-batch, of the mean
// loss over the sub-batch, all taken at the same parameters; as many rows as there are sub-batches, or fewer for a batch
// that is short. `shares` are those of the sub-batches in the batch, above 0 and 1 together, as many as rows; NULL for even
// ones. `batch` is the number of the batch from 0, where each has slots of its own, else any.
//
// Batches that differ in rows or shares take a step each, as do all batches with slots of their own.
dualstep_status dualstep_badm_record(const dualstep_optimizer *optimizer,
                                     const dualstep_tensor *gradients,
                                     const float *shares,
                                     uint32_t batch,
                                     dualstep_step **step);

// Records a step of a first-order method on the gradient that will be in `gradient` when it is run: that of the mean loss,
// in the shape of the parameters.
dualstep_status dualstep_first_order_record(const dualstep_optimizer *optimizer,
                                            const dualstep_tensor *gradient,
                                            dualstep_step **step);

// Changes rho and sigma of BADM, before anything that is submitted later. Recorded steps stay good.
dualstep_status dualstep_badm_set_penalties(const dualstep_optimizer *optimizer, double rho, double sigma);

// Changes the learning rate of a first-order method, before anything that is submitted later. Recorded steps stay good.
dualstep_status dualstep_first_order_set_learning_rate(const dualstep_optimizer *optimizer,
                                                       double learning_rate);

// Fails with DUALSTEP_ERROR_NOT_FINITE if a step was refused, and says where. Waits for the device.
dualstep_status dualstep_optimizer_check(const dualstep_optimizer *optimizer);

// Tells what an optimizer's steps came to so far. Set `size` first. Waits for the device.
dualstep_status dualstep_optimizer_tally(const dualstep_optimizer *optimizer, dualstep_tally *tally);

// Tells how many bytes an optimizer's state takes.
dualstep_status dualstep_optimizer_state_size(const dualstep_optimizer *optimizer, size_t *bytes);

// Reads an optimizer's state, every bit; the parameters are not in it. Waits for the device.
dualstep_status dualstep_optimizer_save(const dualstep_optimizer *optimizer, void *state, size_t bytes);

// Goes on from a state that dualstep_optimizer_save read, of an optimizer of the same settings and parameters.
dualstep_status dualstep_optimizer_restore(const dualstep_optimizer *optimizer,
                                           const void *state,
                                           size_t bytes);

// Frees an optimizer; NULL is allowed. Its recorded steps go on working.
dualstep_status dualstep_optimizer_free(dualstep_optimizer *optimizer);

// Submits a recorded step so many times, on what its tensors hold by then. Does not wait for the device: gradients that are
// written after this call are those of the next step.
dualstep_status dualstep_step_run(const dualstep_step *step,
                                  uint32_t times);

// Tells what one run of a recorded step does. Set `size` first.
dualstep_status dualstep_step_counts(const dualstep_step *step, dualstep_counts *counts);

// Frees a recorded step; NULL is allowed.
dualstep_status dualstep_step_free(dualstep_step *step);

/* ---- N:M sparsity ---------------------------------------------------------------------------------------- */

// How weights are drawn to their pattern.
typedef enum {
  // After each step, by `strength` / `interval` whatever the learning rate: over an interval a weight goes
  // 1 - exp(-strength) of the way.
  DUALSTEP_DRAW_PULL = 0,
  // By a gradient, rho = `strength` times the distance, that joins the loss's before the moments: the paper's.
  DUALSTEP_DRAW_COUPLED = 1,
  // The same with a rho for each tensor that the device chooses at each update, so that alone it would draw a weight as
  // far as DUALSTEP_DRAW_PULL does. For methods that divide gradients by a root.
  DUALSTEP_DRAW_COUPLED_AUTO = 2,
  // After each step, by the learning rate times rho = `strength`.
  DUALSTEP_DRAW_DECOUPLED = 3,
} dualstep_draw;

// N:M ADMM over some tensors of a row of parameters. One call at a time may use it or an update of its.
typedef struct dualstep_nm dualstep_nm;

// Settings of N:M ADMM (NxMTransformer: Holmes et al. 2021).
typedef struct {
  // sizeof(dualstep_nm_settings).
  size_t size;
  // How weights are drawn to their pattern.
  dualstep_draw draw;
  // Steps from one update to the next.
  uint32_t interval;
  // Updates of a run.
  uint32_t updates;
  // How strongly: see `draw`.
  double strength;
  // What an update leaves of the dual: 1 is ADMM to the letter, 0 a penalty without a dual.
  double leak;
} dualstep_nm_settings;

// A tensor of a slab's that is to become sparse. This structure will never grow.
typedef struct {
  // Its number in the slab.
  size_t index;
  // Weights that stay of each group.
  uint32_t keep;
  // Weights of a group, consecutive ones of a row; at most 32, and they divide the columns.
  uint32_t group;
} dualstep_nm_part;

// What an update measured of one sparse tensor.
typedef struct {
  // sizeof(dualstep_nm_measure).
  size_t size;
  // The distance from the weights to those of the pattern that they are drawn to, relative to their norm.
  double primal;
  // What of the weights' norm is off the mask.
  double off;
  // The share of the mask's bits that changed.
  double flips;
  // How far the weights of the pattern moved, relative to their norm.
  double dual;
  // Weights that were infinite or NaN.
  double not_finite;
  // rho from that update on; 0 for DUALSTEP_DRAW_PULL.
  double rho;
} dualstep_nm_measure;

// Brings a matrix to a pattern: of every `group` consecutive weights of a row the `keep` largest in magnitude stay, of equal
// ones the first, and the others become 0. `projected` becomes a new tensor of the same shape and storage, and `mask`,
// unless it is NULL, one of DUALSTEP_U32 with a bit for each weight that stays: a row for each row of the matrix, whose word
// k holds the groups from k * (32 / group) on, the first in its lowest bits and each with its first weight lowest. Waits for
// the device.
dualstep_status dualstep_nm_project(const dualstep_tensor *weights,
                                    uint32_t keep,
                                    uint32_t group,
                                    dualstep_tensor **projected,
                                    dualstep_tensor **mask);

// Sets settings of N:M ADMM to those to start with for a run of so many steps, at least 40: 40 updates, and a pull. The
// learning rate should fall to 0 at the last step (DUALSTEP_DECAY_LINEAR). Set `size` first.
dualstep_status dualstep_nm_settings_default(dualstep_nm_settings *settings,
                                             uint32_t steps);

// Sets settings of N:M ADMM to the paper's for a run of so many steps, at least 80; its rho is from 4e-4 to 1e-2. Set `size`
// first.
dualstep_status dualstep_nm_settings_paper(dualstep_nm_settings *settings,
                                           uint32_t steps,
                                           double rho);

// N:M ADMM over some parts of a row of parameters that `slab` lays out. A run is dualstep_nm_start once; then, again and
// again, `interval` runs of a step that dualstep_nm_record_step recorded, each on a new gradient, and one of an update that
// dualstep_nm_record_update recorded; then dualstep_nm_finish once. Weights stay dense until that.
dualstep_status dualstep_nm_new(const dualstep_nm_settings *settings,
                                const dualstep_slab *slab,
                                const dualstep_tensor *parameters,
                                const dualstep_nm_part *parts,
                                size_t count,
                                dualstep_nm **nm);

// Opens a run: what weights are drawn to becomes their projection. Weights stay as they are.
dualstep_status dualstep_nm_start(const dualstep_nm *nm);

// Records a step of a first-order method as dualstep_first_order_record does, which draws weights to their pattern; or, with
// `is_masked` not 0, one that leaves weights at 0 that are 0, for fine-tuning after dualstep_nm_finish.
dualstep_status dualstep_nm_record_step(const dualstep_nm *nm,
                                        const dualstep_optimizer *optimizer,
                                        const dualstep_tensor *gradient,
                                        uint32_t is_masked,
                                        dualstep_step **step);

// Records an update: the projection and the dual step of every sparse tensor, and what they measure. `optimizer` is what
// takes the steps.
dualstep_status dualstep_nm_record_update(const dualstep_nm *nm,
                                          const dualstep_optimizer *optimizer,
                                          dualstep_step **update);

// Closes a run: sparse tensors become their projections.
dualstep_status dualstep_nm_finish(const dualstep_nm *nm);

// Changes the rho of DUALSTEP_DRAW_COUPLED or DUALSTEP_DRAW_DECOUPLED, from the next update on. Recorded steps stay good.
dualstep_status dualstep_nm_set_rho(const dualstep_nm *nm,
                                    double rho);

// Tells what the last update measured of a sparse tensor, by its place in `parts`. Set `size` first. Waits for the device.
dualstep_status dualstep_nm_measures(const dualstep_nm *nm,
                                     size_t place,
                                     dualstep_nm_measure *measure);

// Makes a tensor of the mask of a sparse tensor, by its place in `parts`, as its last projection left it: see
// dualstep_nm_project. It shares the mask's memory.
dualstep_status dualstep_nm_mask(const dualstep_nm *nm, size_t place, dualstep_tensor **mask);

// Fails with DUALSTEP_ERROR_NOT_FINITE if a weight was NaN or infinite, and says where. Waits for the device.
dualstep_status dualstep_nm_check(const dualstep_nm *nm);

// Frees N:M ADMM; NULL is allowed. Its recorded steps and updates go on working.
dualstep_status dualstep_nm_free(dualstep_nm *nm);

/* ---- Data ------------------------------------------------------------------------------------------------ */

// A half of a data set.
typedef enum {
  // The samples to learn from.
  DUALSTEP_TRAIN = 0,
  // The samples never learnt from.
  DUALSTEP_TEST = 1,
} dualstep_half;

// Samples to learn from and to be judged by. Any number of threads may use it at once.
typedef struct dualstep_data dualstep_data;

// Samples of a program's own. This structure will never grow.
typedef struct {
  // How many.
  size_t count;
  // Sample after sample, all features of each: count * features finite values.
  const float *values;
  // The class of each: count numbers from 0, below the number of classes.
  const uint32_t *labels;
} dualstep_samples;

// The sizes of a data set.
typedef struct {
  // sizeof(dualstep_data_sizes).
  size_t size;
  // Values of each sample.
  uint32_t features;
  // Classes.
  uint32_t classes;
  // Samples to learn from.
  uint32_t train;
  // Samples never learnt from; 0 if there are none.
  uint32_t test;
} dualstep_data_sizes;

// Loads a data set by the name that the command line knows it by: "embedded" (10,000 images of Fashion-MNIST that are part of
// the library), "fashion-mnist", "mnist", "cora", a folder of IDX files, or a graph in FILE.safetensors.
dualstep_status dualstep_data_load(const char *source,
                                   dualstep_data **data);

// Makes a data set of a program's own samples, which are copied. `name` stands for it in messages and checkpoints; `test`
// may be NULL.
dualstep_status dualstep_data_new(const char *name,
                                  uint32_t features,
                                  uint32_t classes,
                                  const dualstep_samples *train,
                                  const dualstep_samples *test,
                                  dualstep_data **data);

// Tells the sizes of a data set. Set `size` first.
dualstep_status dualstep_data_describe(const dualstep_data *data, dualstep_data_sizes *sizes);

// Copies `count` samples of a half from number `first` on, as a network sees them: pixels between 0 and 1. `values` has room
// for count * features, `labels` for count; either may be NULL.
dualstep_status dualstep_data_read(const dualstep_data *data,
                                   dualstep_half half,
                                   size_t first,
                                   size_t count,
                                   float *values,
                                   uint32_t *labels);

// Frees a data set; NULL is allowed. Trainings on it go on working.
dualstep_status dualstep_data_free(dualstep_data *data);

/* ---- Training by dlADMM ---------------------------------------------------------------------------------- */

// What is between two layers.
typedef enum {
  // max(z, 0).
  DUALSTEP_RELU = 0,
  // z above 0, `slope` * z below.
  DUALSTEP_LEAKY_RELU = 1,
  // 1 / (1 + exp(-z)).
  DUALSTEP_SIGMOID = 2,
  // The hyperbolic tangent.
  DUALSTEP_TANH = 3,
} dualstep_activation;

// How the blocks of weights and activations are stepped.
typedef enum {
  // DUALSTEP_STEPS_EXACT, but DUALSTEP_STEPS_QUADRATIC with a schedule of the paper's or its authors', and with
  // DUALSTEP_PENALTY_L1.
  DUALSTEP_STEPS_USUAL = 0,
  // Each block solved for, damped: a few iterations suffice.
  DUALSTEP_STEPS_EXACT = 1,
  // One gradient step for each row of weights and each sample of activations, as long as pays.
  DUALSTEP_STEPS_LINE_SEARCH = 2,
  // The paper's: one gradient step for each block.
  DUALSTEP_STEPS_QUADRATIC = 3,
} dualstep_steps;

// Which blocks an iteration of exact steps goes through.
typedef enum {
  // From the last layer to the first and back.
  DUALSTEP_SWEEP_FULL = 0,
  // From the last layer to the first: a quarter less work.
  DUALSTEP_SWEEP_BACKWARD = 1,
} dualstep_sweep;

// How the systems of exact steps are solved.
typedef enum {
  // To rounding, with a factorisation.
  DUALSTEP_SOLVER_CHOLESKY = 0,
  // A few steps of conjugate gradients.
  DUALSTEP_SOLVER_CG = 1,
} dualstep_solver;

// How iterations are accelerated.
typedef enum {
  // DUALSTEP_ACCELERATE_ANDERSON with exact steps and DUALSTEP_Z_LAST_NEWTON, else not.
  DUALSTEP_ACCELERATE_USUAL = 0,
  // Not at all.
  DUALSTEP_ACCELERATE_NONE = 1,
  // By least squares over the last few sweeps.
  DUALSTEP_ACCELERATE_ANDERSON = 2,
  // On in the direction of the last sweep.
  DUALSTEP_ACCELERATE_EXTRAPOLATE = 3,
  // As DUALSTEP_ACCELERATE_ANDERSON, but the weights alone, judged by the training cost.
  DUALSTEP_ACCELERATE_WEIGHTS = 4,
} dualstep_acceleration;

// What is asked of the weights beside the sum over samples.
typedef enum {
  // Nothing.
  DUALSTEP_PENALTY_NONE = 0,
  // lambda/2 times the sum of squares.
  DUALSTEP_PENALTY_L2 = 1,
  // lambda times the sum of magnitudes; for quadratic steps.
  DUALSTEP_PENALTY_L1 = 2,
} dualstep_penalty;

// How rho and nu move.
typedef enum {
  // They do not.
  DUALSTEP_SCHEDULE_CONSTANT = 0,
  // rho grows tenfold every 100 iterations: the paper's.
  DUALSTEP_SCHEDULE_PAPER = 1,
  // Both grow tenfold, up to 0.1, when the training cost rose three times running: its authors' program.
  DUALSTEP_SCHEDULE_OFFICIAL = 2,
} dualstep_schedule;

// How the last layer's z is found.
typedef enum {
  // Exactly, by damped Newton steps.
  DUALSTEP_Z_LAST_NEWTON = 0,
  // By accelerated proximal-gradient iterations: the paper's.
  DUALSTEP_Z_LAST_FISTA = 1,
  // Exactly, but with DUALSTEP_SCHEDULE_OFFICIAL by FISTA as its authors' program runs it: at most 500 iterations at a step
  // length of 4, until one moves the objective by less than 1e-3. DUALSTEP_ACCELERATE_ANDERSON and
  // DUALSTEP_ACCELERATE_EXTRAPOLATE need it exact.
  DUALSTEP_Z_LAST_USUAL = 2,
} dualstep_z_last;

// A network in training by dlADMM. One call at a time may use it.
typedef struct dualstep_training dualstep_training;

// Settings of a training by dlADMM (Wang et al. 2019), with the defaults of `dualstep train`.
typedef struct {
  // sizeof(dualstep_training_settings).
  size_t size;
  // Widths of the hidden layers, at least one. By default 200 and 200, in memory of the library's.
  const uint32_t *hidden;
  // How many they are.
  size_t hidden_count;
  // Train on the first so many samples; 0 for all.
  size_t samples;
  // Of the initial weights.
  uint64_t seed;
  // What is between two layers.
  dualstep_activation activation;
  // Of DUALSTEP_LEAKY_RELU below 0.
  float slope;
  // How the blocks of weights and activations are stepped.
  dualstep_steps steps;
  // Damping of exact steps, relative to the mean of a Gram matrix' diagonal.
  float damping;
  // Ridge on the weights in exact steps, relative to the same.
  float ridge;
  // Which blocks an iteration of exact steps goes through.
  dualstep_sweep sweep;
  // How the systems of exact steps are solved.
  dualstep_solver solver;
  // Steps of DUALSTEP_SOLVER_CG for a block of weights.
  uint32_t weight_steps;
  // Steps of DUALSTEP_SOLVER_CG for a block of activations.
  uint32_t activation_steps;
  // How iterations are accelerated.
  dualstep_acceleration acceleration;
  // Sweeps that an accelerator remembers, 1 to 16.
  uint32_t memory;
  // What is asked of the weights beside the sum over samples.
  dualstep_penalty penalty;
  // Its weight.
  float lambda;
  // How rho and nu move.
  dualstep_schedule schedule;
  // Penalty of the last layer's constraint; 0 for 1e-2, or 1e-6 with a schedule that raises it.
  float rho;
  // Penalty of the relaxed constraints; 0 for that of the last layer's.
  float nu;
  // Where the search for an activation's curvature starts, in quadratic steps.
  float tau_0;
  // Where the search for a weight matrix' curvature starts, in quadratic steps.
  float theta_0;
  // How the last layer's z is found.
  dualstep_z_last z_last;
  // Iterations of DUALSTEP_Z_LAST_FISTA, at most.
  uint32_t fista_iterations;
  // Step length of DUALSTEP_Z_LAST_FISTA; 2 is safe for every rho.
  float fista_eta;
  // Accuracy and cost are taken after iterations divisible by this; 0 for never.
  uint32_t evaluate_every;
  // Resident products are formed afresh after iterations divisible by this; 0 for never.
  uint32_t refresh_every;
  // Not 0: the state before each iteration is kept, so that a run that diverges can be saved. Costs a copy of the state.
  uint32_t keep_last_finite;
  // DUALSTEP_Z_LAST_FISTA stops with the first iteration that moves the objective by less; 0 for never.
  double fista_tolerance;
} dualstep_training_settings;

// What an iteration reports. The library makes it; what it points to lasts as long as the callback.
typedef struct {
  // The bytes that this library's version of the structure has.
  size_t size;
  // Counted from 1.
  uint32_t iteration;
  // Pivots that factorisations dropped since the run began, because a Gram matrix was singular there.
  uint32_t dropped_pivots;
  // Augmented Lagrangian after the iteration.
  float objective;
  // The loss, summed over the training samples.
  float loss;
  // Penalty of the last layer's constraint during the iteration.
  float rho;
  // Penalty of the relaxed constraints during the iteration.
  float nu;
  // Share of training samples that the network gets right; NaN where it was not taken.
  float train_accuracy;
  // Mean cross-entropy on them; NaN where it was not taken.
  float train_cost;
  // Share of test samples that the network gets right; NaN where it was not taken.
  float test_accuracy;
  // Mean cross-entropy on them; NaN where it was not taken.
  float test_cost;
  // Candidates of the accelerator's that were judged so far; 0 without one.
  uint32_t accelerator_tries;
  // Those of them that were kept.
  uint32_t accelerator_accepts;
  // The squared residual of each layer's constraint.
  const float *residuals;
  // Layers.
  size_t residual_count;
  // The squared distance from each hidden layer's activations to the activation of its z.
  const float *gaps;
  // Hidden layers.
  size_t gap_count;
  // Doublings of each quadratic step, in the order of the sweep.
  const uint32_t *exponents;
  // Quadratic steps of an iteration; 0 with other steps.
  size_t exponent_count;
} dualstep_record;

// Called with each iteration's record, on the thread that called dualstep_training_run. It returns 0 to go on, and anything
// else to end the run. It must return: no longjmp, no C++ exception. The training that it is called for is busy meanwhile.
typedef int (*dualstep_on_record)(const dualstep_record *record, void *user);

// How a network does on some samples.
typedef struct {
  // sizeof(dualstep_scores).
  size_t size;
  // Share of samples that it gets right.
  float accuracy;
  // Mean cross-entropy.
  float cost;
} dualstep_scores;

// Sets settings to what `dualstep train` does by default. Set `size` first.
dualstep_status dualstep_training_settings_default(dualstep_training_settings *settings);

// Puts samples and initial weights on a device, ready for the first iteration. With NULL for settings it is as
// `dualstep train` is by default.
dualstep_status dualstep_training_new(const dualstep_gpu *gpu,
                                      const dualstep_training_settings *settings,
                                      const dualstep_data *data,
                                      dualstep_training **training);

// Goes on from a checkpoint, one of `dualstep train --checkpoint` or of dualstep_training_save, with its settings: bit for
// bit, or, where it holds weights alone, from those. With NULL for `data` it loads the data that the checkpoint names.
dualstep_status dualstep_training_load(const dualstep_gpu *gpu,
                                       const char *path,
                                       const dualstep_data *data,
                                       dualstep_training **training);

// Runs so many iterations more, and returns when they are done. `on_record`, unless it is NULL, is called with each one's
// record, in order, and with `user`; the device goes on meanwhile. When it returns anything but 0, the one or two iterations
// that are under way are finished and reported, and the run fails with DUALSTEP_STOPPED; it can go on.
//
// After DUALSTEP_ERROR_NOT_FINITE the training is as it was before the iteration that failed, as far as
// `keep_last_finite` was set: it can be scored and saved, but not go on.
dualstep_status dualstep_training_run(const dualstep_training *training,
                                      uint32_t iterations,
                                      dualstep_on_record on_record,
                                      void *user);

// Tells how the network does on a half of its data, of the training half on what it learns from. Set `size` first. Waits for
// the device.
dualstep_status dualstep_training_scores(const dualstep_training *training,
                                         dualstep_half half,
                                         dualstep_scores *scores);

// Tells how many layers of weights the network has.
dualstep_status dualstep_training_layers(const dualstep_training *training, size_t *layers);

// Copies the weights, rows * columns numbers row after row, and the biases, as many as rows, of a layer counted from 0.
// `shape` becomes that of the weights: outputs by inputs. Each of the three may be NULL. Waits for the device.
dualstep_status dualstep_training_weights(const dualstep_training *training,
                                          size_t layer,
                                          dualstep_shape *shape,
                                          float *weights,
                                          float *biases);

// Writes a checkpoint, whole or not at all: a safetensors file that `dualstep eval` and `dualstep train --resume` read, and
// dualstep_training_load. With `weights_only` not 0 it holds weights and biases alone. Waits for the device.
dualstep_status dualstep_training_save(const dualstep_training *training,
                                       const char *path,
                                       uint32_t weights_only);

// Frees a training; NULL is allowed. A run of its that is under way on another thread goes on to its end.
dualstep_status dualstep_training_free(dualstep_training *training);

#ifdef __cplusplus
} /* extern "C" */
#endif

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(dualstep_status) == 4, "dualstep takes enums of four bytes; leave -fshort-enums out");
#endif

#endif /* DUALSTEP_H */
