-- +goose Up
-- One row for each closed window. The columns from key_bytes to bytes are what
-- the program reads; the others are for people.
CREATE TABLE windows (
    application  text        NOT NULL,
    store        text        NOT NULL,
    key          text        NOT NULL,
    window_start timestamptz NOT NULL,
    window_end   timestamptz NOT NULL,
    event_time   timestamptz NOT NULL, -- of the latest event
    sequence     bigint      NOT NULL, -- results sent before the last one
    value        jsonb,                -- null if JSON cannot say it
    written_at   timestamptz NOT NULL DEFAULT now(),
    partition    integer     NOT NULL,
    layout       text        NOT NULL,
    epoch        bigint      NOT NULL, -- which changelog the row is of, and
    position     bigint      NOT NULL, -- where in it: later ones go before
    key_bytes    bytea       NOT NULL,
    bytes        bytea       NOT NULL,
    PRIMARY KEY (application, store, key_bytes, window_start, window_end)
) PARTITION BY RANGE (window_start);

CREATE INDEX windows_by_time ON windows (application, store, window_start, key_bytes, partition);

-- What lies so far ahead that it is given no partition yet.
CREATE TABLE windows_default PARTITION OF windows DEFAULT;

-- How far the closed windows of a task are written. A changelog that is made anew
-- has another log, and a greater epoch.
CREATE SEQUENCE epochs;

CREATE TABLE lanes (
    application text    NOT NULL,
    store       text    NOT NULL,
    partition   integer NOT NULL,
    layout      text    NOT NULL,
    log         text    NOT NULL,
    epoch       bigint  NOT NULL DEFAULT nextval('epochs'),
    mark        bigint  NOT NULL,
    PRIMARY KEY (application, store, partition, layout, log)
);

-- +goose Down
DROP TABLE lanes;
DROP SEQUENCE epochs;
DROP TABLE windows;
