/* The twins: each has the arguments, shapes and contract of the reference's function in ref/op under the same name without cuda_, on
 * device memory. What differs from that contract (scratch) stands above the function in its .cu file.
 * Scratch sizes are in bytes. Internal to cuda/; for C and C++.
 *
 * Of a twin that ends in _bf16, and of products in bf16, weights w of convolutions and linear layers, activations and their gradients (x,
 * y, dy, dx, residual, t, from, to, q, z, r, p, g_target, dq, dr, dp) are bf16 behind their pointers; other parameters, gradients of all of
 * them, statistics and values of losses are what they are without. */
#ifndef EDIY_CUDA_TWINS_H
#define EDIY_CUDA_TWINS_H

#ifdef __cplusplus
extern "C" {
#endif

#include "cuda/backend.h"

/* In the place of twins of a table of this precision: convolutions by cuDNN, linear layers by cuBLASLt. False, with one line in err, where
 * the library cannot be used. */
MUST_CHECK bool cuda_fill_cudnn(struct backend *table, enum cuda_precision precision, struct error *err);
MUST_CHECK bool cuda_fill_cublas(struct backend *table, enum cuda_precision precision, struct error *err);
void cuda_fill_plain(struct backend *table, enum cuda_precision precision); /* convolutions by the tiled kernels */

/* Convolutions and linear layers on tensor cores (tensor_table.h). _wgmma: of a table in bf16, on a GPU of compute capability 9.0. */
void cuda_fill_tf32(struct backend *table);
void cuda_fill_bf16(struct backend *table);
void cuda_fill_conv_wgmma(struct backend *table);
void cuda_fill_gemm_wgmma(struct backend *table);

void cuda_mark(int mark); /* without a twin, as seconds_between */
double cuda_seconds_between(int first, int second);

size_t cuda_conv_scratch(const struct conv *g);
void cuda_conv_forward(const struct conv *g, const real *x, const real *w, real *y, void *scratch);
size_t cuda_conv_moments(const struct conv *g); /* of backend.h, as the two that follow */
void cuda_conv_forward_moments(const struct conv *g, const real *x, const real *w, real *y, double *moments, void *scratch);
void cuda_conv_norm_forward_eval(const struct conv *g, const struct norm *n, const real *x, const real *w, const real *residual,
                                 const real *gamma, const real *beta, const real *running_mean, const real *running_var, real *y,
                                 void *scratch);
void cuda_conv_backward_data(const struct conv *g, const real *dy, const real *w, real *dx, bool accumulate, void *scratch);
void cuda_conv_backward_weights(const struct conv *g, const real *x, const real *dy, real *dw, void *scratch);

size_t cuda_norm_scratch(const struct norm *g);
size_t cuda_norm_signs(const struct norm *g);
size_t cuda_norm_signs_bf16(const struct norm *g);
void cuda_norm_forward_train(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                             real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch);
void cuda_norm_forward_train_bf16(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                  real *running_mean, real *running_var, real *y, double *mean, double *invstd, void *scratch);
void cuda_norm_forward_eval(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                            const real *running_mean, const real *running_var, real *y);
void cuda_norm_forward_eval_bf16(const struct norm *g, const real *x, const real *residual, const real *gamma, const real *beta,
                                 const real *running_mean, const real *running_var, real *y);
void cuda_norm_backward_train(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                              const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta, void *scratch);
void cuda_norm_backward_train_bf16(const struct norm *g, const real *x, const real *y, const real *gamma, const double *mean,
                                   const double *invstd, const real *dy, real *dx, real *dresidual, real *dgamma, real *dbeta,
                                   void *scratch);

void cuda_norm_rank_moments(const struct norm *g, const real *x, double *sums, void *scratch);
void cuda_norm_rank_moments_bf16(const struct norm *g, const real *x, double *sums, void *scratch);
void cuda_norm_rank_forward(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual, const real *gamma,
                            const real *beta, real *running_mean, real *running_var, real *y, double *mean, double *invstd);
void cuda_norm_rank_forward_bf16(const struct norm *g, int ranks, const double *sums, const real *x, const real *residual,
                                 const real *gamma, const real *beta, real *running_mean, real *running_var, real *y, double *mean,
                                 double *invstd);
void cuda_norm_rank_gradient(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd, const real *dy,
                             real *dgamma, real *dbeta, double *sums, void *scratch);
void cuda_norm_rank_gradient_bf16(const struct norm *g, const real *x, const real *y, const double *mean, const double *invstd,
                                  const real *dy, real *dgamma, real *dbeta, double *sums, void *scratch);
void cuda_norm_rank_backward(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                             const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch);
void cuda_norm_rank_backward_bf16(const struct norm *g, int ranks, const double *sums, const real *x, const real *y, const real *gamma,
                                  const double *mean, const double *invstd, const real *dy, real *dx, real *dresidual, void *scratch);
void cuda_rank_mean(int ranks, ptrdiff_t n, const real *parts, real *to);

void cuda_maxpool_forward(const struct pool *g, const real *x, real *y, int32_t *index);
void cuda_maxpool_forward_bf16(const struct pool *g, const real *x, real *y, int32_t *index);
void cuda_maxpool_backward(const struct pool *g, const real *dy, const int32_t *index, real *dx);
void cuda_maxpool_backward_bf16(const struct pool *g, const real *dy, const int32_t *index, real *dx);
void cuda_avgpool_forward(const struct pool *g, const real *x, real *y);
void cuda_avgpool_forward_bf16(const struct pool *g, const real *x, real *y);
void cuda_avgpool_backward(const struct pool *g, const real *dy, real *dx, bool accumulate);
void cuda_avgpool_backward_bf16(const struct pool *g, const real *dy, real *dx, bool accumulate);

size_t cuda_linear_scratch(const struct linear *g);
void cuda_linear_forward(const struct linear *g, const real *x, const real *w, const real *b, real *y);
void cuda_linear_backward_data(const struct linear *g, const real *dy, const real *w, real *dx, bool accumulate);
void cuda_linear_backward_weights(const struct linear *g, const real *x, const real *dy, real *dw, real *db, void *scratch);

size_t cuda_match_scratch(const struct match *g);
void cuda_match_diversity(const struct match *g, const real *t, int32_t *d, void *scratch);
void cuda_match_diversity_bf16(const struct match *g, const real *t, int32_t *d, void *scratch);
void cuda_match_invariance(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch);
void cuda_match_invariance_bf16(const struct match *g, const real *from, const real *to, int32_t *s, void *scratch);

size_t cuda_loss_scratch(const struct loss *g);
void cuda_loss_byol(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch);
void cuda_loss_byol_bf16(const struct loss *g, const real *q, const real *z, double scale, double *value, real *dq, void *scratch);
void cuda_loss_rdem(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                    real *dr, void *scratch);
void cuda_loss_rdem_bf16(const struct loss *g, const real *r, const int32_t *d, enum rdem_stopgrad stopgrad, double scale, double *value,
                         real *dr, void *scratch);
void cuda_loss_rdem_instance(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale, double *value,
                             real *dr, void *scratch);
void cuda_loss_rdem_instance_bf16(const struct loss *g, const real *r, const real *g_target, const int32_t *neg, double scale,
                                  double *value, real *dr, void *scratch);
void cuda_loss_riem(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
                    void *scratch);
void cuda_loss_riem_bf16(const struct loss *g, const real *p, const real *g_target, const int32_t *s, double scale, double *value, real *dp,
                         void *scratch);
void cuda_loss_collect(ptrdiff_t b, const struct loss_values *v, double share, struct loss_sums *sums);
void cuda_halt_unless_finite(ptrdiff_t n, const real *gradient, struct loss_sums *sums);

void cuda_store_activations_bf16(ptrdiff_t n, const real *x, real *y); /* of the table of bf16 only */

void cuda_lars_update(const struct lars *o, ptrdiff_t size, bool adapt, double lr, const real *g, real *w, real *m);
void cuda_ema_update(ptrdiff_t size, double tau, const real *theta, real *xi);
void cuda_lars_update_all(const struct lars *o, int count, const struct lars_part *part, double lr, const int64_t *halt, const real *g,
                          real *w, real *m);
void cuda_ema_update_all(int count, const struct ema_part *part, double tau, const int64_t *halt, const real *theta, real *xi);

#ifdef __cplusplus
}
#endif

#endif
