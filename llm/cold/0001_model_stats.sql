-- +goose Up
-- One row for each model and closed window of performance.
CREATE TABLE model_stats (
    application  text        NOT NULL,
    store        text        NOT NULL,
    key          text        NOT NULL, -- the model
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    count        bigint      NOT NULL,
    errors       bigint      NOT NULL,
    error_rate   double precision NOT NULL,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    cost_usd     double precision NOT NULL,
    quality_mean double precision,     -- null if no event has a quality
    latency_mean_ms double precision NOT NULL,
    latency_p50_ms  double precision NOT NULL,
    latency_p95_ms  double precision NOT NULL,
    latency_p99_ms  double precision NOT NULL,
    latency_max_ms  double precision NOT NULL,
    event_time   timestamptz NOT NULL,
    sequence     bigint      NOT NULL,
    written_at   timestamptz NOT NULL DEFAULT now(),
    partition    integer     NOT NULL,
    layout       text        NOT NULL,
    epoch        bigint      NOT NULL,
    position     bigint      NOT NULL,
    key_bytes    bytea       NOT NULL,
    bytes        bytea       NOT NULL,
    PRIMARY KEY (application, store, key_bytes, window_start, window_end)
) PARTITION BY RANGE (window_start);

CREATE INDEX model_stats_by_time ON model_stats (application, store, window_start, key_bytes, partition);

CREATE TABLE model_stats_default PARTITION OF model_stats DEFAULT;

-- Which windows each task has now. A reset with another size begins a lane with
-- another layout, and leaves the rows of the old one, which cover the same events.
CREATE VIEW model_layouts AS
SELECT DISTINCT ON (application, store, partition) application, store, partition, layout
FROM lanes
ORDER BY application, store, partition, epoch DESC;

-- For a dashboard: each model over the windows of the last 24 hours. The mean of
-- latencies is exact; percentiles do not add up, and the worst window's are shown.
CREATE VIEW model_last_24h AS
SELECT application, key AS model, sum(count) AS count, sum(errors) AS errors,
       sum(errors)::double precision / nullif(sum(count), 0) AS error_rate,
       sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd,
       sum(latency_mean_ms * count) / nullif(sum(count), 0) AS latency_mean_ms,
       max(latency_p95_ms) AS latency_p95_ms_worst, max(latency_p99_ms) AS latency_p99_ms_worst, max(latency_max_ms) AS latency_max_ms
FROM model_stats JOIN model_layouts USING (application, store, partition, layout)
WHERE window_start >= now() - interval '24 hours'
GROUP BY application, key;

CREATE VIEW model_cost_by_day AS
SELECT application, date_trunc('day', window_start, 'UTC') AS day, key AS model,
       sum(count) AS count, sum(prompt_tokens) AS prompt_tokens, sum(completion_tokens) AS completion_tokens, sum(cost_usd) AS cost_usd
FROM model_stats JOIN model_layouts USING (application, store, partition, layout)
GROUP BY application, date_trunc('day', window_start, 'UTC'), key;

-- +goose Down
DROP VIEW model_cost_by_day;
DROP VIEW model_last_24h;
DROP VIEW model_layouts;
DROP TABLE model_stats;
