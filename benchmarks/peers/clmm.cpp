// The cumulative link mixed model as a user of TMB would write it: Laplace approximation, logit link, one random intercept.
#include <TMB.hpp>
template<class Type>
Type objective_function<Type>::operator() () {
  DATA_IVECTOR(y); DATA_MATRIX(X); DATA_IVECTOR(group); DATA_INTEGER(K);
  PARAMETER(first); PARAMETER_VECTOR(log_distance); PARAMETER_VECTOR(beta); PARAMETER(log_sd); PARAMETER_VECTOR(u);
  vector<Type> tau(K - 1);
  tau(0) = first;
  for (int k = 1; k < K - 1; k++) tau(k) = tau(k - 1) + exp(log_distance(k - 1));
  Type sd = exp(log_sd), nll = -dnorm(u, Type(0), Type(1), true).sum();
  vector<Type> eta = X * beta;
  for (int i = 0; i < y.size(); i++) {
    Type at = eta(i) + sd * u(group(i));
    Type upper = y(i) < K - 1 ? invlogit(tau(y(i)) - at) : Type(1);
    Type lower = y(i) > 0 ? invlogit(tau(y(i) - 1) - at) : Type(0);
    nll -= log(upper - lower + Type(1e-300));
  }
  ADREPORT(sd);
  return nll;
}
