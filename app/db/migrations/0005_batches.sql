-- Batches, their items, and the log of their progress. Everything that is decided of a batch is decided while its row is
-- locked, so that the log has every change once, and in the order in which they happened.

CREATE TABLE batches (
    id           uuid PRIMARY KEY,
    tenant       text NOT NULL,
    -- Whose limits and budgets hold for the items.
    key_id       uuid NOT NULL,
    status       text NOT NULL DEFAULT 'queued',
    -- Why it is paused or ended as it did, for programs.
    reason       text,
    -- What it will end as, while its last items are on their way; NULL: as they decide.
    ends_as      text,
    -- Goes up when items are tried again; the engine's execution is called by it.
    round        int NOT NULL DEFAULT 1,
    started      boolean NOT NULL DEFAULT false,
    parallelism  int NOT NULL,
    on_failure   text NOT NULL,
    approval     text NOT NULL,
    metadata     jsonb NOT NULL DEFAULT '{}',
    -- Of its items, by status.
    queued       int NOT NULL,
    running      int NOT NULL DEFAULT 0,
    succeeded    int NOT NULL DEFAULT 0,
    failed       int NOT NULL DEFAULT 0,
    cancelled    int NOT NULL DEFAULT 0,
    last_seq     bigint NOT NULL DEFAULT 0,
    -- What the engine waits for an answer by. It is told to nobody.
    task_token   text,
    -- When the engine was last asked about it.
    looked_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    deadline     timestamptz NOT NULL,
    approved_at  timestamptz,
    finished_at  timestamptz
);
CREATE INDEX batches_tenant ON batches (tenant, id);
CREATE INDEX batches_open ON batches (looked_at) WHERE finished_at IS NULL OR task_token IS NOT NULL;
CREATE INDEX batches_finished ON batches (finished_at) WHERE finished_at IS NOT NULL;

CREATE TABLE batch_items (
    batch_id      uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    position      int NOT NULL,
    custom_id     text NOT NULL,
    status        text NOT NULL DEFAULT 'queued',
    request       bytea NOT NULL,
    completion_id uuid,
    -- How often it had to wait in this round.
    waits         int NOT NULL DEFAULT 0,
    error         bytea,
    PRIMARY KEY (batch_id, position)
);

CREATE TABLE batch_events (
    batch_id uuid NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    seq      bigint NOT NULL,
    type     text NOT NULL,
    data     bytea NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (batch_id, seq)
);


-- Give a batch another status, and tell of it. The caller holds its row.
CREATE FUNCTION turn_batch(p_batch uuid, p_status text, p_reason text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    b batches;
BEGIN
    UPDATE batches SET
        status = p_status, reason = p_reason, last_seq = last_seq + 1,
        finished_at = CASE WHEN p_status IN ('completed', 'failed', 'cancelled', 'rejected', 'expired')
                           THEN clock_timestamp() END
    WHERE id = p_batch
    RETURNING * INTO b;
    INSERT INTO batch_events (batch_id, seq, type, data)
    VALUES (p_batch, b.last_seq, 'batch', convert_to(json_build_object(
        'status', b.status, 'reason', b.reason, 'round', b.round,
        'items', json_build_object('queued', b.queued, 'running', b.running, 'succeeded', b.succeeded,
                                   'failed', b.failed, 'cancelled', b.cancelled))::text, 'UTF8'));
END
$$;


-- Give items another status, those of `p_positions` or all, if theirs is one of `p_from`; and tell of each. Answers how
-- many there were. The caller holds the batch's row.
CREATE FUNCTION move_items(p_batch uuid, p_positions int[], p_from text[], p_to text, p_error bytea) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    v_moved int;
BEGIN
    IF p_positions IS NULL THEN  -- apart, so that one item is found by its position
        p_positions := ARRAY(SELECT i.position FROM batch_items i
                             WHERE i.batch_id = p_batch AND i.status = ANY (p_from));
    END IF;
    WITH picked AS (
        SELECT i.position, i.status AS was, row_number() OVER (ORDER BY i.position) AS n
        FROM batch_items i
        WHERE i.batch_id = p_batch AND i.status = ANY (p_from)
          AND i.position = ANY (p_positions)
    ), moved AS (
        UPDATE batch_items i SET status = p_to, error = p_error
        FROM picked p WHERE i.batch_id = p_batch AND i.position = p.position
        RETURNING p.n, p.was, i.position, i.custom_id, i.completion_id
    ), told AS (
        INSERT INTO batch_events (batch_id, seq, type, data)
        SELECT p_batch, b.last_seq + m.n, 'item', convert_to(json_build_object(
            'position', m.position, 'custom_id', m.custom_id, 'status', p_to, 'completion_id', m.completion_id,
            'error', convert_from(p_error, 'UTF8')::json)::text, 'UTF8')
        FROM moved m JOIN batches b ON b.id = p_batch
    ), counted AS (
        SELECT count(*) AS n,
               count(*) FILTER (WHERE was = 'queued') AS queued, count(*) FILTER (WHERE was = 'running') AS running,
               count(*) FILTER (WHERE was = 'failed') AS failed, count(*) FILTER (WHERE was = 'cancelled') AS cancelled
        FROM moved
    )
    UPDATE batches b SET
        last_seq = b.last_seq + c.n,
        queued = b.queued - c.queued + CASE WHEN p_to = 'queued' THEN c.n ELSE 0 END,
        running = b.running - c.running + CASE WHEN p_to = 'running' THEN c.n ELSE 0 END,
        succeeded = b.succeeded + CASE WHEN p_to = 'succeeded' THEN c.n ELSE 0 END,
        failed = b.failed - c.failed + CASE WHEN p_to = 'failed' THEN c.n ELSE 0 END,
        cancelled = b.cancelled - c.cancelled + CASE WHEN p_to = 'cancelled' THEN c.n ELSE 0 END
    FROM counted c WHERE b.id = p_batch
    RETURNING c.n INTO v_moved;
    RETURN v_moved;
END
$$;
