// The figures of the runs: minima, medians, and what each variant adds to a function without a layer.

const round = (number) => Math.round(number * 100) / 100;
const least = (numbers) => Math.min(...numbers);
const median = (numbers) => {
  const sorted = [...numbers].sort((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

/** The figures of one variant: `found` and `bare` are its runs, and those without a layer. */
export function row(found, bare) {
  // Not every run has all of them.
  const of = (runs, key) => runs.flatMap((run) => run[key] ?? []);
  const added = (key, take) => round(take(of(found, key)) - take(of(bare, key)));
  return {
    cold_min_ms: round(least(of(found, "cold"))),
    cold_median_ms: round(median(of(found, "cold"))),
    added_cold_min_ms: added("cold", least),
    added_cold_median_ms: added("cold", median),
    added_early_ms: added("early", median),
    added_warm_ms: added("warm", median),
    added_rss_mb: added("rss", median),
    added_read_kb: added("read", median),
  };
}

/** One line of the printed table. */
export function line(variant, figures) {
  const cold = `${figures.cold_min_ms.toFixed(1).padStart(7)} (${figures.cold_median_ms.toFixed(1)})`;
  return (
    `  ${variant.padEnd(16)} ${cold}`.padEnd(40) +
    `+${figures.added_cold_min_ms} (+${figures.added_cold_median_ms}) cold, +${figures.added_early_ms} early, +${figures.added_warm_ms} warm, ` +
    `+${figures.added_rss_mb} MB, +${figures.added_read_kb} KB read`
  );
}
