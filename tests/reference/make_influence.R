# Values of R for target effects and paired choices.
#
# Run from anywhere:  Rscript tests/reference/make_influence.R
# Needs R >= 4.2 with sandwich (Debian: r-cran-sandwich). Writes influence_ratings.csv, influence_choices.csv and
# influence.toml beside itself. R is an oracle: the package never calls it, and the tests read the committed files only.

suppressPackageStartupMessages(library(sandwich))
options(digits = 15, warn = 1)

here <- local({
  file <- sub("^--file=", "", grep("^--file=", commandArgs(FALSE), value = TRUE))
  if (length(file) == 1) dirname(normalizePath(file)) else getwd()
})
path <- function(name) file.path(here, name)

# Forty executives of fifteen organisations rate five roles from 1 to 7; some roles are missing in some firms.
set.seed(20260105, kind = "Mersenne-Twister", normal.kind = "Inversion", sample.kind = "Rejection")
roles <- c("CEO", "CFO", "CMO", "CTO", "GC")
worth <- c(1.5, .5, -.7, .3, -1.2)
organisation <- sort(sample(1:15, 40, replace = TRUE))
organisation[1:15] <- 1:15
organisation <- sort(organisation)
own <- sample(1:5, 40, replace = TRUE)
weight <- round(exp(rnorm(40, sd = .4)), 3)
halo <- rnorm(40, sd = .6)
ratings <- do.call(rbind, lapply(1:40, function(i) {
  rated <- sort(union(own[i], sample(1:5, sample(3:5, 1))))
  value <- 4.2 + halo[i] + worth[rated] + .5 * (rated == own[i]) + rnorm(length(rated))
  data.frame(org_id = organisation[i], rater = i, own = roles[own[i]], target = roles[rated],
             rating = pmin(pmax(round(value), 1), 7), weight = weight[i])
}))
write.csv(ratings, path("influence_ratings.csv"), row.names = FALSE, quote = FALSE)

choices <- do.call(rbind, lapply(1:40, function(i) {
  pair <- t(replicate(6, sample(1:5, 2)))
  p <- plogis(worth[pair[, 1]] - worth[pair[, 2]])
  tie <- runif(6) < .15
  data.frame(org_id = organisation[i], first = roles[pair[, 1]], second = roles[pair[, 2]],
             outcome = ifelse(tie, .5, as.numeric(runif(6) < p)), weight = weight[i])
}))
write.csv(choices, path("influence_choices.csv"), row.names = FALSE, quote = FALSE)
ratings <- read.csv(path("influence_ratings.csv"))
choices <- read.csv(path("influence_choices.csv"))

lines <- character()
put <- function(...) lines <<- c(lines, paste0(...))
number <- function(x) {
  text <- trimws(vapply(x, function(v) format(v, digits = 15, scientific = abs(v) > 0 && abs(v) < 1e-4), ""))
  whole <- !grepl("[.e]", text)
  text[whole] <- paste0(text[whole], ".0")
  text
}
key <- function(name, value) {
  if (is.character(value) && length(value) == 1) put(name, ' = "', value, '"')
  else if (is.character(value)) put(name, " = [", paste0('"', value, '"', collapse = ", "), "]")
  else put(name, " = ", if (length(value) == 1) number(value) else paste0("[", paste(number(value), collapse = ", "), "]"))
}
table_of <- function(name, source) { put(""); put("[", name, "]"); key("source", source) }

put("# Made by make_influence.R from influence_ratings.csv and influence_choices.csv; do not edit by hand.")
put("")
put("[environment]")
key("r", paste(R.version$major, R.version$minor, sep = "."))
key("sandwich", as.character(packageVersion("sandwich")))
key("targets", roles)

contrasts_of <- diag(5) - 1 / 5  # from treatment coding with the first at nil to effects that sum to zero
for (name in c("plain", "weighted")) {
  others <- ratings[ratings$own != ratings$target, ]
  others$w <- if (name == "plain") 1 else others$weight
  others$target <- factor(others$target, levels = roles)
  others$rater <- factor(others$rater)
  fit <- lm(rating ~ target + rater, data = others, weights = w)
  keep <- paste0("target", roles[-1])
  V <- matrix(0, 5, 5)
  V[-1, -1] <- vcovCL(fit, cluster = others$org_id, type = "HC0", cadjust = FALSE)[keep, keep]
  table_of(paste0("target_effects.", name), "stats::lm(rating ~ target + rater, weights), own role left out; sandwich::vcovCL(org_id, HC0, cadjust = FALSE)")
  key("effect", as.vector(contrasts_of %*% c(0, coef(fit)[keep])))
  key("std_error_unadjusted", sqrt(diag(contrasts_of %*% V %*% contrasts_of)))
  frame <- ratings
  frame$w <- if (name == "plain") 1 else frame$weight
  key("self_other_raw", vapply(roles, function(r) {
    part <- frame[frame$target == r, ]
    self <- part$own == r
    weighted.mean(part$rating[self], part$w[self]) - weighted.mean(part$rating[!self], part$w[!self])
  }, 0, USE.NAMES = FALSE))

  X <- t(vapply(seq_len(nrow(choices)), function(i) (roles == choices$first[i]) - (roles == choices$second[i]), numeric(5)))
  w <- if (name == "plain") rep(1, nrow(choices)) else choices$weight
  fit <- suppressWarnings(glm(choices$outcome ~ 0 + X[, -1], family = binomial, weights = w,
                              control = glm.control(epsilon = 1e-15, maxit = 100)))
  V <- W <- matrix(0, 5, 5)
  V[-1, -1] <- vcovCL(fit, cluster = choices$org_id, type = "HC0", cadjust = FALSE)
  W[-1, -1] <- vcov(fit)
  table_of(paste0("bradley_terry.", name), "stats::glm(outcome ~ 0 + differences, binomial), ties one half; sandwich::vcovCL")
  key("ability", as.vector(contrasts_of %*% c(0, coef(fit))))
  key("std_error_unadjusted", sqrt(diag(contrasts_of %*% V %*% contrasts_of)))
  key("model_error", sqrt(diag(contrasts_of %*% W %*% contrasts_of)))
}
writeLines(lines, path("influence.toml"))
