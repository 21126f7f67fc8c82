# Values of R for regressions with survey weights and organisations as clusters: least squares, quasi-Poisson, censored times.
#
# Run from anywhere:  Rscript tests/reference/make_regressions.R
# Needs R >= 4.2 with survival and sandwich (Debian: r-cran-survival r-cran-sandwich). Writes regressions.csv and
# regressions.toml beside itself. R is an oracle: the package never calls it, and the tests read the committed files only.

suppressPackageStartupMessages({
  library(survival)
  library(sandwich)
})
options(digits = 15, warn = 1)

here <- local({
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file) == 1) dirname(normalizePath(file)) else getwd()
})
path <- function(name) file.path(here, name)

# 160 project leads of 70 organisations: a practice, size, sector; weeks to deployment, some still running; bottlenecks; delay.
set.seed(20260729, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
organisation <- rep(1:70, length.out = 160)
shared <- rnorm(70, sd = .3)[organisation]
practice <- rbinom(160, 1, .4)
size <- sample(0:2, 160, replace = TRUE)
sector <- sample(c("a", "b", "c"), 160, replace = TRUE)
time <- 9 * exp(-.3 * practice + .1 * size + shared) * rgamma(160, 2, 2)
since <- rexp(160, 1 / 30)
running <- as.integer(time > since)
weeks <- ifelse(running == 1, pmax(floor(since), 1), round(time))
bott <- rpois(160, exp(1.2 - .4 * practice + shared) * rgamma(160, 2, 2))
delay <- rbinom(160, 1, .5 - .15 * practice)
frame <- data.frame(org_id = organisation, practice, size, sector, weeks, running, bott, delay,
                    weight = round(exp(rnorm(160, sd = .4)), 3))
write.csv(frame, path("regressions.csv"), row.names = FALSE, quote = FALSE)

num <- function(x) paste0("[", paste(formatC(as.numeric(x), digits = 15, format = "g"), collapse = ", "), "]")
out <- c("# Made by make_regressions.R from regressions.csv; do not edit by hand.", "", "[environment]",
         sprintf('r = "%s.%s"', R.version$major, R.version$minor),
         sprintf('survival = "%s"', packageVersion("survival")), sprintf('sandwich = "%s"', packageVersion("sandwich")))
section <- function(name, source, ...) {
  values <- list(...)
  out <<- c(out, "", sprintf("[%s]", name), sprintf('source = "%s"', source),
            sprintf("%s = %s", names(values), vapply(values, num, "")))
}

clustered <- function(fit) sqrt(diag(vcovCL(fit, cluster = frame$org_id, type = "HC0", cadjust = FALSE)))

fit <- lm(delay ~ practice + size + sector, frame, weights = weight)
section("least_squares", "lm(delay ~ practice + size + sector, weights); sandwich::vcovCL, HC0, no adjustment",
        coefficients = coef(fit), std_error = clustered(fit))

fit <- glm(bott ~ practice + size + sector, quasipoisson, frame, weights = weight)
section("log_linear", "glm(bott ~ practice + size + sector, quasipoisson, weights); sandwich::vcovCL, HC0, no adjustment",
        coefficients = coef(fit), std_error = clustered(fit))

lower <- with(frame, ifelse(running == 1, weeks, pmax(weeks - .5, 1e-300)))
upper <- with(frame, ifelse(running == 1, NA, weeks + .5))
times <- function(w) survreg(Surv(lower, upper, type = "interval2") ~ practice + size + sector, frame, weights = w,
                             dist = "lognormal", control = survreg.control(rel.tolerance = 1e-14, maxiter = 100))
fit <- times(frame$weight)
# survreg(robust = TRUE) takes sampling weights otherwise than its own refits do: here the infinitesimal jackknife by refits.
step <- 1e-4
influence <- sapply(unique(frame$org_id), function(g)
  (coef(times(frame$weight * (1 + step * (frame$org_id == g)))) - coef(fit)) / step)
section("log_normal_times",
        "survival::survreg(Surv(lower, upper, type = 'interval2') ~ ., dist = 'lognormal', weights); jackknife over organisations",
        coefficients = coef(fit), std_error = sqrt(rowSums(influence^2)), scale = fit$scale)

writeLines(out, path("regressions.toml"))
