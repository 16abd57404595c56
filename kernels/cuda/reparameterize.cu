// z = mu + exp(logvar / 2) eps and its gradients; see scratchvae/ops/reparameterize.py.
#include "common.cuh"

KERNEL reparameterize_forward(const T* mu, const T* logvar, const T* eps, T* z, int count) {
  int i = thread_number();
  if (i < count) z[i] = mu[i] + exp(logvar[i] / 2) * eps[i];
}

KERNEL reparameterize_backward(const T* dz, const T* logvar, const T* eps, T* dmu, T* dlogvar,
                               int count) {
  int i = thread_number();
  if (i >= count) return;
  dmu[i] = dz[i];
  dlogvar[i] = dz[i] * eps[i] * exp(logvar[i] / 2) / 2;
}
