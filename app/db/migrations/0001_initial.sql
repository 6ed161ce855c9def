-- Keys, conversations, completions and their logs; and the functions that the hot path calls.
--
-- The functions are there because a PL/pgSQL body is planned once per backend without a prepared statement, so the
-- calls stay cheap and leave nothing on the session that would pin a proxied connection.

CREATE TABLE keys (
    id              uuid PRIMARY KEY,
    tenant          text NOT NULL,
    name            text NOT NULL,
    secret_sha256   bytea NOT NULL UNIQUE,
    shown_prefix    text NOT NULL,
    scopes          text[] NOT NULL,
    allowed         text[] NOT NULL DEFAULT '{}',
    -- A browser token is a key that a parent key made, bound to one completion or one conversation.
    parent_id       uuid REFERENCES keys (id) ON DELETE CASCADE,
    completion_id   uuid,
    conversation_id uuid,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at      timestamptz,
    revoked_at      timestamptz
);
CREATE INDEX keys_tenant ON keys (tenant, id) WHERE parent_id IS NULL;
CREATE INDEX keys_parent ON keys (parent_id) WHERE parent_id IS NOT NULL;
CREATE INDEX keys_token_expiry ON keys (expires_at) WHERE parent_id IS NOT NULL;

CREATE TABLE conversations (
    id          uuid PRIMARY KEY,
    tenant      text NOT NULL,
    external_id text,
    title       text,
    -- JSON text of the Messages API's `system`: a string or an array of text blocks.
    system      bytea,
    metadata    jsonb NOT NULL DEFAULT '{}',
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (tenant, external_id)
);
CREATE INDEX conversations_tenant ON conversations (tenant, id);
CREATE INDEX conversations_metadata ON conversations USING gin (metadata jsonb_path_ops);

-- One row a process. `dead_at` is set once, by whoever meets the expired lease, and never taken back.
CREATE TABLE instances (
    id          uuid PRIMARY KEY,
    home        text NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lease_until timestamptz NOT NULL,
    dead_at     timestamptz
);

CREATE TABLE completions (
    id                  uuid PRIMARY KEY,
    tenant              text NOT NULL,
    key_id              uuid,
    conversation_id     uuid REFERENCES conversations (id),
    previous_id         uuid,
    idempotency_key     text,
    request_sha256      bytea,
    status              text NOT NULL DEFAULT 'streaming',
    model               text NOT NULL,
    -- Bytes, not jsonb: jsonb refuses \u0000 and lone surrogates and rewrites numbers.
    request             bytea,
    stop_reason         text,
    content             bytea,
    -- Of an answer that was not finished: what a later turn may be told of it.
    kept                bytea,
    usage               bytea,
    error               bytea,
    attempts            int NOT NULL DEFAULT 0,
    -- The position of the terminal event; the events before it are 1, 2, 3, …
    end_seq             bigint,
    store               boolean NOT NULL,
    background          boolean NOT NULL DEFAULT false,
    on_disconnect       text NOT NULL,
    metadata            jsonb NOT NULL DEFAULT '{}',
    instance_id         uuid NOT NULL,
    cancel_requested_at timestamptz,
    readers_until       timestamptz,
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    first_event_at      timestamptz,
    finished_at         timestamptz,
    UNIQUE (tenant, idempotency_key)
);
CREATE INDEX completions_tenant ON completions (tenant, id);
CREATE INDEX completions_conversation ON completions (conversation_id, id) WHERE conversation_id IS NOT NULL;
CREATE INDEX completions_streaming ON completions (instance_id) WHERE status = 'streaming';
CREATE INDEX completions_asked ON completions (instance_id)
    WHERE status = 'streaming' AND (cancel_requested_at IS NOT NULL OR readers_until IS NOT NULL);
CREATE UNIQUE INDEX completions_busy ON completions (conversation_id)
    WHERE status = 'streaming' AND conversation_id IS NOT NULL;

CREATE TABLE messages (
    id              uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position        int NOT NULL,
    role            text NOT NULL,
    content         bytea NOT NULL,
    completion_id   uuid,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE (conversation_id, position)
);

-- One row a tick while streaming: the JSON of events first_seq..last_seq, a line each.
CREATE TABLE completion_events (
    completion_id uuid NOT NULL REFERENCES completions (id) ON DELETE CASCADE,
    first_seq     bigint NOT NULL,
    last_seq      bigint NOT NULL,
    data          bytea NOT NULL,
    PRIMARY KEY (completion_id, first_seq)
);

-- The same lines of a finished completion, the terminal event among them, compressed with zlib.
CREATE TABLE completion_logs (
    completion_id uuid PRIMARY KEY REFERENCES completions (id) ON DELETE CASCADE,
    data          bytea NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE completion_logs ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE INDEX completion_logs_created ON completion_logs (created_at);


-- Whether an instance may still be writing. After a restart of the server every lease gets its full time again:
-- nobody could renew while it was down.
CREATE FUNCTION lease_holds(p_lease_until timestamptz, p_dead_at timestamptz, p_lease interval) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT p_dead_at IS NULL
       AND greatest(p_lease_until, pg_postmaster_start_time() + p_lease) > clock_timestamp()
$$;


-- Decide on one request and insert it. `outcome` is one of
--   admitted       with the conversation's history, in order, without the messages just appended
--   instance_dead  this process was declared dead: it needs a new id
--   no_conversation
--   busy           the conversation has a running completion; `busy_instance` owns it, `busy_alive` says if its lease holds
--   previous_running, no_previous, previous_not_stored, previous_in_conversation, previous_deleted
--                  what stands against going on from `p_previous`; the last speaks of one further back in its chain
-- `chain_requests` and `chain_answers` are those of `p_previous` and all before it, the oldest first; an answer of which
-- nothing is kept is NULL.
CREATE FUNCTION admit(
    p_id uuid, p_tenant text, p_key_id uuid, p_instance uuid, p_home text, p_lease interval,
    p_model text, p_request bytea, p_store boolean, p_on_disconnect text, p_metadata jsonb,
    p_conversation uuid, p_message_ids uuid[], p_roles text[], p_contents bytea[],
    p_previous uuid, p_background boolean,
    OUT outcome text, OUT busy_instance uuid, OUT busy_alive boolean,
    OUT system bytea, OUT history_roles text[], OUT history_contents bytea[],
    OUT chain_requests bytea[], OUT chain_answers bytea[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_instance instances;
    v_last int;
BEGIN
    SELECT * INTO v_instance FROM instances WHERE id = p_instance;
    IF NOT FOUND THEN
        INSERT INTO instances (id, home, lease_until) VALUES (p_instance, p_home, clock_timestamp() + p_lease)
        ON CONFLICT (id) DO NOTHING;
    ELSIF v_instance.lease_until < clock_timestamp() + p_lease / 2 THEN
        -- An idle instance lets its lease lapse; it has to hold before the first row is there to be judged by it.
        UPDATE instances SET lease_until = clock_timestamp() + p_lease WHERE id = p_instance AND dead_at IS NULL;
    END IF;
    -- Keeps the instance from being declared dead between here and the commit.
    PERFORM 1 FROM instances WHERE id = p_instance AND dead_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        outcome := 'instance_dead';
        RETURN;
    END IF;

    IF p_conversation IS NOT NULL THEN
        SELECT c.system INTO system FROM conversations c
        WHERE c.id = p_conversation AND c.tenant = p_tenant FOR UPDATE;
        IF NOT FOUND THEN
            outcome := 'no_conversation';
            RETURN;
        END IF;
        SELECT c.instance_id, lease_holds(i.lease_until, i.dead_at, p_lease) INTO busy_instance, busy_alive
        FROM completions c LEFT JOIN instances i ON i.id = c.instance_id
        WHERE c.conversation_id = p_conversation AND c.status = 'streaming';
        IF FOUND THEN
            outcome := 'busy';
            RETURN;
        END IF;
        SELECT array_agg(m.role ORDER BY m.position), array_agg(m.content ORDER BY m.position), max(m.position)
        INTO history_roles, history_contents, v_last
        FROM messages m WHERE m.conversation_id = p_conversation;
        INSERT INTO messages (id, conversation_id, position, role, content, completion_id)
        SELECT n.id, p_conversation, coalesce(v_last, 0) + n.ordinality, n.role, n.content, p_id
        FROM unnest(p_message_ids, p_roles, p_contents) WITH ORDINALITY AS n (id, role, content, ordinality);
        UPDATE conversations SET updated_at = clock_timestamp() WHERE id = p_conversation;
    END IF;

    IF p_previous IS NOT NULL THEN
        SELECT 'previous_running', i.id, lease_holds(i.lease_until, i.dead_at, p_lease)
        INTO outcome, busy_instance, busy_alive
        FROM completions c LEFT JOIN instances i ON i.id = c.instance_id
        WHERE c.id = p_previous AND c.tenant = p_tenant AND c.status = 'streaming';
        IF FOUND THEN
            RETURN;
        END IF;
        WITH RECURSIVE chain AS (
            SELECT 1 AS age, c.previous_id, c.conversation_id, c.store, c.request,
                   CASE c.status WHEN 'completed' THEN c.content ELSE c.kept END AS answer
            FROM completions c WHERE c.id = p_previous AND c.tenant = p_tenant
            UNION ALL
            SELECT n.age + 1, c.previous_id, c.conversation_id, c.store, c.request,
                   CASE c.status WHEN 'completed' THEN c.content ELSE c.kept END
            FROM chain n JOIN completions c ON c.id = n.previous_id AND c.tenant = p_tenant
        )
        SELECT array_agg(n.request ORDER BY n.age DESC), array_agg(n.answer ORDER BY n.age DESC),
               CASE WHEN count(*) = 0 THEN 'no_previous'
                    WHEN bool_or(n.conversation_id IS NOT NULL) THEN 'previous_in_conversation'
                    WHEN bool_or(NOT n.store) THEN 'previous_not_stored'
                    WHEN count(n.previous_id) = count(*) THEN 'previous_deleted' END
        INTO chain_requests, chain_answers, outcome
        FROM chain n;
        IF outcome IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;

    INSERT INTO completions (id, tenant, key_id, conversation_id, previous_id, model, request, store, background,
                             on_disconnect, metadata, instance_id)
    VALUES (p_id, p_tenant, p_key_id, p_conversation, p_previous, p_model, p_request, p_store, p_background,
            p_on_disconnect, p_metadata, p_instance);
    outcome := 'admitted';
END
$$;


-- Finish completions of one owner. The caller has made sure that no other may. Answers the ids that it finished.
CREATE FUNCTION settle(
    p_owner uuid, p_ids uuid[], p_statuses text[], p_stop_reasons text[], p_contents bytea[], p_usages bytea[], p_errors bytea[],
    p_attempts int[], p_first_event_ms float8[], p_end_seqs bigint[], p_logs bytea[],
    p_message_ids uuid[], p_answers bytea[], p_forget_input boolean[]
) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    v completions;
    v_i int;
BEGIN
    FOR v_i IN 1 .. coalesce(array_length(p_ids, 1), 0) LOOP
        UPDATE completions c SET
            status = p_statuses[v_i], stop_reason = p_stop_reasons[v_i], usage = p_usages[v_i], error = p_errors[v_i],
            content = CASE WHEN c.store THEN p_contents[v_i] END,
            kept = CASE WHEN c.store AND p_statuses[v_i] <> 'completed' THEN p_answers[v_i] END,
            request = CASE WHEN c.store THEN c.request END,
            attempts = p_attempts[v_i], end_seq = p_end_seqs[v_i],
            first_event_at = c.created_at + p_first_event_ms[v_i] * interval '1 ms',
            finished_at = clock_timestamp()
        WHERE c.id = p_ids[v_i] AND c.instance_id = p_owner AND c.status = 'streaming'
        RETURNING * INTO v;
        CONTINUE WHEN NOT FOUND;

        DELETE FROM completion_events WHERE completion_id = v.id;
        IF v.store THEN
            INSERT INTO completion_logs (completion_id, data) VALUES (v.id, p_logs[v_i]);
        END IF;
        IF v.conversation_id IS NOT NULL THEN
            IF p_forget_input[v_i] THEN
                DELETE FROM messages WHERE conversation_id = v.conversation_id AND completion_id = v.id;
            ELSIF p_answers[v_i] IS NOT NULL THEN
                INSERT INTO messages (id, conversation_id, position, role, content, completion_id)
                SELECT p_message_ids[v_i], v.conversation_id, coalesce(max(m.position), 0) + 1, 'assistant',
                       p_answers[v_i], v.id
                FROM messages m WHERE m.conversation_id = v.conversation_id;
            END IF;
            UPDATE conversations SET updated_at = clock_timestamp() WHERE id = v.conversation_id;
        END IF;
        RETURN NEXT v.id;
    END LOOP;
END
$$;


-- One tick of one process: the new events of all its streams, and the ends among them. Safe to repeat unchanged.
-- Answers the ids that were refused, because the instance was declared dead or the completion is not (or no longer) its own.
CREATE FUNCTION record(
    p_instance uuid,
    p_ids uuid[], p_firsts bigint[], p_lasts bigint[], p_datas bytea[],
    p_ended uuid[], p_statuses text[], p_stop_reasons text[], p_contents bytea[], p_usages bytea[], p_errors bytea[],
    p_attempts int[], p_first_event_ms float8[], p_end_seqs bigint[], p_logs bytea[],
    p_message_ids uuid[], p_answers bytea[], p_forget_input boolean[]
) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
BEGIN
    -- The fence: whoever declares this instance dead waits for this lock, and is then seen by every later tick.
    PERFORM 1 FROM instances WHERE id = p_instance AND dead_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT unnest(p_ids) UNION SELECT unnest(p_ended);
        RETURN;
    END IF;

    INSERT INTO completion_events (completion_id, first_seq, last_seq, data)
    SELECT n.id, n.first_seq, n.last_seq, n.data
    FROM unnest(p_ids, p_firsts, p_lasts, p_datas) AS n (id, first_seq, last_seq, data)
    JOIN completions c ON c.id = n.id AND c.instance_id = p_instance AND c.status = 'streaming'
    ON CONFLICT DO NOTHING;

    IF array_length(p_ended, 1) > 0 THEN
        PERFORM settle(p_instance, p_ended, p_statuses, p_stop_reasons, p_contents, p_usages, p_errors, p_attempts,
                       p_first_event_ms, p_end_seqs, p_logs, p_message_ids, p_answers, p_forget_input);
    END IF;

    RETURN QUERY
        SELECT n.id FROM unnest(p_ids) AS n (id)
        WHERE n.id <> ALL (p_ended) AND NOT EXISTS (
            SELECT FROM completions c WHERE c.id = n.id AND c.instance_id = p_instance AND c.status = 'streaming')
        UNION
        SELECT n.id FROM unnest(p_ended, p_end_seqs) AS n (id, end_seq)
        WHERE NOT EXISTS (
            SELECT FROM completions c WHERE c.id = n.id AND c.instance_id = p_instance AND c.end_seq = n.end_seq);
END
$$;


-- The control tick of one process: keep the lease, say which remote streams have a reader here, and learn what others
-- ask of this one's streams. The first row speaks of the instance itself: its id, and whether it is alive.
CREATE FUNCTION control(
    p_instance uuid, p_lease interval, p_renew interval, p_following uuid[], p_readers_for interval
) RETURNS TABLE (id uuid, alive boolean, cancel_requested boolean, readers_elsewhere boolean)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE instances i SET lease_until = clock_timestamp() + p_lease
    WHERE i.id = p_instance AND i.dead_at IS NULL AND i.lease_until < clock_timestamp() + p_lease - p_renew;

    -- Without waiting: whoever has a row locked is most likely ending it, and may wait for one that is locked here.
    UPDATE completions c SET readers_until = clock_timestamp() + p_readers_for
    WHERE c.id IN (
        SELECT f.id FROM completions f
        WHERE f.id = ANY (p_following) AND f.status = 'streaming' AND f.on_disconnect = 'cancel'
          AND (f.readers_until IS NULL OR f.readers_until < clock_timestamp() + p_readers_for / 2)
        FOR NO KEY UPDATE SKIP LOCKED);

    RETURN QUERY
        SELECT i.id, i.dead_at IS NULL, false, false FROM instances i WHERE i.id = p_instance;
    RETURN QUERY
        SELECT c.id, true, c.cancel_requested_at IS NOT NULL, coalesce(c.readers_until > clock_timestamp(), false)
        FROM completions c
        WHERE c.instance_id = p_instance AND c.status = 'streaming'
          AND (c.cancel_requested_at IS NOT NULL OR c.readers_until IS NOT NULL);
END
$$;


-- Declare an instance dead if its lease has expired; true if it is dead now.
CREATE FUNCTION declare_dead(p_instance uuid, p_lease interval) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE instances i SET dead_at = clock_timestamp()
    WHERE i.id = p_instance AND i.dead_at IS NULL AND NOT lease_holds(i.lease_until, i.dead_at, p_lease);
    RETURN NOT EXISTS (SELECT FROM instances i WHERE i.id = p_instance AND i.dead_at IS NULL);
END
$$;
