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
