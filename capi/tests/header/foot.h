
#ifdef __cplusplus
} /* extern "C" */
#endif

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
_Static_assert(sizeof(dualstep_status) == 4, "dualstep takes enums of four bytes; leave -fshort-enums out");
#endif

#endif /* DUALSTEP_H */
