# Values of R's survival package for durations: Kaplan-Meier with clusters, Turnbull, discrete-time hazards.
#
# Run from anywhere:  Rscript tests/reference/make_duration.R
# Needs R >= 4.2 with survival and sandwich (Debian: r-cran-survival r-cran-sandwich). Writes duration.csv and duration.toml
# beside itself. R is an oracle: the package never calls it, and the tests read the committed files only.

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

# Ninety executives of 24 organisations: weeks until consensus, in whole periods, some censored, some entered late.
set.seed(20260102, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
organisation <- rep(1:24, length.out = 90)
cto <- rbinom(90, 1, .4)
latent <- rexp(90, exp(-1.4 + .6 * cto + rnorm(24, sd = .5)[organisation]))
follow <- sample(3:8, 90, replace = TRUE)
period <- pmin(ceiling(latent), follow)
event <- as.integer(ceiling(latent) <= follow)
entry <- pmin(rbinom(90, 2, .25), period - 1)
# Seen at visits only: between the last visit without and the first one with it.
visits <- t(replicate(90, sort(sample(1:10, 3))))
lower <- apply(cbind(0, visits), 1, function(v) 0)
upper <- rep(Inf, 90)
for (i in 1:90) {
  v <- visits[i, ]
  lower[i] <- max(c(0, v[v < latent[i]]))
  upper[i] <- if (any(v >= latent[i])) min(v[v >= latent[i]]) else Inf
}
frame <- data.frame(org_id = organisation, cto = cto, period = period, event = event, entry = entry,
                    lower = lower, upper = ifelse(is.finite(upper), upper, NA),
                    weight = round(exp(rnorm(90, sd = .4)), 3))
write.csv(frame, path("duration.csv"), row.names = FALSE, quote = FALSE, na = "")
frame <- read.csv(path("duration.csv"))

lines <- character()
put <- function(...) lines <<- c(lines, paste0(...))
number <- function(x) {
  text <- trimws(vapply(x, function(v) format(v, digits = 15, scientific = abs(v) > 0 && abs(v) < 1e-4), ""))
  whole <- !grepl("[.e]", text) & is.finite(x)
  text[whole] <- paste0(text[whole], ".0")
  text[is.infinite(x)] <- "inf"
  text[is.nan(x) | is.na(x)] <- "nan"
  text
}
key <- function(name, value) {
  if (is.character(value)) put(name, ' = "', value, '"')
  else put(name, " = ", if (length(value) == 1) number(value) else paste0("[", paste(number(value), collapse = ", "), "]"))
}
table_of <- function(name, source) { put(""); put("[", name, "]"); key("source", source) }

put("# Made by make_duration.R from duration.csv; do not edit by hand.")
put("")
put("[environment]")
key("r", paste(R.version$major, R.version$minor, sep = "."))
key("survival", as.character(packageVersion("survival")))
key("sandwich", as.character(packageVersion("sandwich")))

curve <- function(name, source, fit) {
  keep <- fit$n.event > 0
  table_of(name, source)
  key("times", fit$time[keep])
  key("survival", fit$surv[keep])
  key("std_error", fit$std.err[keep] * if (isTRUE(fit$logse)) fit$surv[keep] else 1)
  key("conf_low", fit$lower[keep])
  key("conf_high", fit$upper[keep])
}
curve("kaplan_meier.plain", "survival::survfit(Surv(period, event) ~ 1, conf.type = 'log-log'): Greenwood",
      survfit(Surv(period, event) ~ 1, data = frame, conf.type = "log-log"))
curve("kaplan_meier.entry", "survival::survfit(Surv(entry, period, event) ~ 1, robust = TRUE): infinitesimal jackknife",
      survfit(Surv(entry, period, event) ~ 1, data = frame, robust = TRUE, id = seq_len(90), conf.type = "log-log"))
curve("kaplan_meier.clustered", "survival::survfit(Surv(period, event) ~ 1, weights, cluster = org_id): infinitesimal jackknife",
      survfit(Surv(period, event) ~ 1, data = frame, weights = weight, cluster = org_id, conf.type = "log-log"))
curve("kaplan_meier.clustered_entry", "survival::survfit(Surv(entry, period, event) ~ 1, weights, cluster = org_id)",
      survfit(Surv(entry, period, event) ~ 1, data = frame, weights = weight, cluster = org_id, conf.type = "log-log"))

# survfit's own Turnbull stops early (its curve is kept beside); the masses are self-consistency run to the end.
upper <- ifelse(is.na(frame$upper), Inf, frame$upper)
ends <- rbind(data.frame(x = frame$lower, kind = 2), data.frame(x = upper, kind = 1))
ends <- unique(ends[order(ends$x, ends$kind), ])
j <- which(head(ends$kind, -1) == 2 & tail(ends$kind, -1) == 1)
low <- ends$x[j]
high <- ends$x[j + 1]
A <- outer(frame$lower, low, "<=") & outer(upper, high, ">=")
self_consistent <- function(w) {
  p <- rep(1 / length(j), length(j))
  for (step in 1:2000000) {
    gradient <- as.vector(crossprod(A, w / as.vector(A %*% p))) / sum(w)
    q <- p * gradient
    if (max(abs(q - p)) < 1e-15) break
    p <- q
  }
  q
}
for (name in c("plain", "weighted")) {
  w <- if (name == "plain") rep(1, 90) else frame$weight
  p <- self_consistent(w)
  p[p < 1e-12] <- 0
  table_of(paste0("turnbull.", name), "self-consistency (EM) run in R until no mass moves by 1e-15; survfit_*: survival::survfit(type = 'interval2')")
  key("low", low)
  key("high", high)
  key("mass", p)
  key("log_likelihood", sum(w * log(as.vector(A %*% p))))
  left <- ifelse(frame$lower == 0, NA, frame$lower)
  fit <- survfit(Surv(left, frame$upper, type = "interval2") ~ 1, weights = w)
  key("survfit_time", fit$time)
  key("survfit_survival", fit$surv)
}

long <- frame[rep(1:90, frame$period - frame$entry), ]
long$at <- sequence(frame$period - frame$entry) + long$entry
long$y <- as.integer(long$at == long$period & long$event == 1)
long$group <- factor(findInterval(long$at, c(1, 2, 3, 5)))
long$changing <- as.numeric(long$at >= 3) * long$cto
for (link in c("cloglog", "logit")) for (name in c("plain", "weighted")) {
  w <- if (name == "plain") rep(1, nrow(long)) else long$weight
  long$w <- w
  fit <- suppressWarnings(glm(y ~ 0 + group + cto + changing, family = binomial(link), data = long, weights = w,
                              control = glm.control(epsilon = 1e-15, maxit = 100)))
  V <- vcovCL(fit, cluster = long$org_id, type = "HC0", cadjust = FALSE)
  table_of(paste("hazard", link, name, sep = "."), "stats::glm(y ~ 0 + group + cto + changing, binomial(link)); sandwich::vcovCL(HC0, cadjust = FALSE)")
  key("estimate", as.vector(coef(fit)))
  key("std_error_unadjusted", as.vector(sqrt(diag(V))))
  mu <- fitted(fit)
  key("log_likelihood", sum(w * ifelse(long$y == 1, log(mu), log(1 - mu))))
}

table_of("variance_ratio", "stats::var.test, weeks (period) of cto 0 and 1; the ratio only")
key("ratio", as.numeric(var.test(frame$period[frame$cto == 1], frame$period[frame$cto == 0])$estimate))

writeLines(lines, path("duration.toml"))
