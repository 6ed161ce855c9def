-- Who may, how much, and what it cost: limits and budgets with their counters, idempotency keys, the ledger, the audit;
-- and the messages that an answer replaces, which come back if there is none.
--
-- `admit`, `settle` and `record` are made anew beside those of 0001, which versions that still run go on calling.

-- Two secrets of one key are good while it is being exchanged.
ALTER TABLE keys
    ADD COLUMN previous_sha256  bytea UNIQUE,
    ADD COLUMN previous_until   timestamptz,
    ADD COLUMN last_used_at     timestamptz;

-- The limits of one key, or of a tenant (`key_id` is NULL), and what they are counted by. Apart from `keys`, because
-- these rows are written all the time. Money is in US dollars; what is NULL is not limited.
CREATE TABLE meters (
    tenant              text NOT NULL,
    key_id              uuid REFERENCES keys (id) ON DELETE CASCADE,
    requests_per_minute int,
    tokens_per_minute   bigint,
    open_streams        int,
    monthly_budget      numeric,
    total_budget        numeric,
    -- Whether models without a known price may be used under a budget, for which they then count nothing.
    allow_unpriced      boolean NOT NULL DEFAULT false,
    limited             boolean NOT NULL GENERATED ALWAYS AS (
        requests_per_minute IS NOT NULL OR tokens_per_minute IS NOT NULL OR open_streams IS NOT NULL
        OR monthly_budget IS NOT NULL OR total_budget IS NOT NULL) STORED,
    -- What was admitted in each of 61 seconds; the last of them is `newest`, in seconds since 1970.
    newest              bigint NOT NULL DEFAULT 0,
    requests            int[] NOT NULL DEFAULT array_fill(0, ARRAY[61]),
    tokens              bigint[] NOT NULL DEFAULT array_fill(0::bigint, ARRAY[61]),
    -- What was settled, in all and in the month (of UTC) that begins with `month`.
    spent               numeric NOT NULL DEFAULT 0,
    spent_in_month      numeric NOT NULL DEFAULT 0,
    month               date NOT NULL DEFAULT '-infinity',
    UNIQUE NULLS NOT DISTINCT (tenant, key_id)
) WITH (fillfactor = 50);
INSERT INTO meters (tenant, key_id) SELECT tenant, id FROM keys WHERE parent_id IS NULL;
INSERT INTO meters (tenant) SELECT DISTINCT tenant FROM keys;

-- What a request with an `Idempotency-Key` made: a completion, a conversation, a message, a key.
CREATE TABLE idempotency_keys (
    tenant         text NOT NULL,
    key            text NOT NULL,
    request_sha256 bytea NOT NULL,
    resource       uuid NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_resource ON idempotency_keys (resource);

-- One row per completion, opened by its admission and closed by its end. It outlives the completion.
CREATE TABLE ledger (
    completion_id         uuid PRIMARY KEY,
    tenant                text NOT NULL,
    key_id                uuid,
    conversation_id       uuid,
    model                 text NOT NULL,
    created_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- What the price depends on beside the model: `app/prices.py` has its form.
    asked                 jsonb NOT NULL,
    -- What it may come to: an estimate of its input, and all the output that it may have. NULL money: no known price.
    reserved_input        bigint NOT NULL,
    reserved_output       bigint NOT NULL,
    reserved              numeric,
    -- Where its meters have counted it.
    second                bigint NOT NULL,
    settled_at            timestamptz,
    status                text,
    input_tokens          bigint,
    output_tokens         bigint,
    cache_read_tokens     bigint,
    cache_write_5m_tokens bigint,
    cache_write_1h_tokens bigint,
    web_searches          int,
    -- NULL where the price is not known. `price` is what it was worked out from.
    cost                  numeric,
    price                 jsonb,
    -- The upstream's final counts never came.
    estimated             boolean
);
CREATE INDEX ledger_tenant ON ledger (tenant, created_at);
CREATE INDEX ledger_key ON ledger (key_id, created_at);
CREATE INDEX ledger_conversation ON ledger (conversation_id) WHERE conversation_id IS NOT NULL;
-- For all tenants at once: rows lie in the order of their making, so that next to nothing tells where a time is.
CREATE INDEX ledger_created ON ledger USING brin (created_at);
CREATE INDEX ledger_open_of_key ON ledger (key_id) INCLUDE (reserved) WHERE settled_at IS NULL;
CREATE INDEX ledger_open_of_tenant ON ledger (tenant) INCLUDE (reserved) WHERE settled_at IS NULL;

-- Who changed which key or limit. Rows are only ever added.
CREATE TABLE audit (
    id       uuid PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    tenant   text NOT NULL,
    -- NULL: the configured admin key.
    actor_id uuid,
    action   text NOT NULL,
    key_id   uuid,
    details  jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_tenant ON audit (tenant, id);
CREATE INDEX audit_key ON audit (key_id, id) WHERE key_id IS NOT NULL;
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- Messages that an edit or another answer replaces, until it is clear that there will be one.
CREATE TABLE replaced_messages (
    id              uuid PRIMARY KEY,
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position        int NOT NULL,
    role            text NOT NULL,
    content         bytea NOT NULL,
    completion_id   uuid,
    created_at      timestamptz NOT NULL,
    tokens          int,
    replaced_by     uuid NOT NULL
);
CREATE INDEX replaced_messages_by ON replaced_messages (replaced_by);

-- An estimate of what a message comes to as input; where it is NULL its bytes tell.
ALTER TABLE messages ADD COLUMN tokens int;


-- The counters of a meter as they stand at a second: what is older than 61 seconds falls out. Counted by whole seconds,
-- 61 of them cover every window of 60 s, wherever it begins.
CREATE FUNCTION at_second(m meters, p_second bigint) RETURNS meters LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_gone int := least(greatest(p_second - m.newest, 0), 61);
BEGIN
    IF v_gone > 0 THEN
        m.requests := (m.requests || array_fill(0, ARRAY[v_gone]))[v_gone + 1 : v_gone + 61];
        m.tokens := (m.tokens || array_fill(0::bigint, ARRAY[v_gone]))[v_gone + 1 : v_gone + 61];
        m.newest := p_second;
    END IF;
    RETURN m;
END
$$;


-- In how many seconds so much of a window will have fallen out.
CREATE FUNCTION seconds_until(p_counts bigint[], p_needed bigint) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_free bigint := 0;
BEGIN
    FOR v_i IN 1 .. 60 LOOP
        v_free := v_free + p_counts[v_i];
        IF v_free >= p_needed THEN
            RETURN v_i;
        END IF;
    END LOOP;
    RETURN 61;
END
$$;


-- What stands against one more completion on a meter that the caller has locked, NULL if nothing does:
--   requests, tokens                  wait for `retry_after` seconds
--   open_streams                      wait until one ends
--   too_many_tokens                   these are more than a minute may ever have
--   monthly_budget, total_budget
--   unpriced                          a budget cannot hold what has no known price
CREATE FUNCTION refusal_of(m meters, p_tokens bigint, p_reserved numeric, OUT reason text, OUT retry_after int)
LANGUAGE plpgsql AS $$
DECLARE
    v_requests bigint := (SELECT sum(n) FROM unnest(m.requests) n);
    v_tokens bigint := (SELECT sum(n) FROM unnest(m.tokens) n);
    v_open bigint;
    v_reserved numeric;
    v_month date := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
BEGIN
    IF v_requests >= m.requests_per_minute THEN
        reason := 'requests';
        retry_after := seconds_until(m.requests, v_requests - m.requests_per_minute + 1);
    ELSIF p_tokens > m.tokens_per_minute THEN
        reason := 'too_many_tokens';
    ELSIF v_tokens + p_tokens > m.tokens_per_minute THEN
        reason := 'tokens';
        retry_after := seconds_until(m.tokens, v_tokens + p_tokens - m.tokens_per_minute);
    END IF;
    IF reason IS NOT NULL OR coalesce(m.open_streams, m.monthly_budget, m.total_budget) IS NULL THEN
        RETURN;
    END IF;

    -- Not from counters: what is open follows from the ledger, whatever became of whom.
    IF m.key_id IS NULL THEN
        SELECT count(*), coalesce(sum(l.reserved), 0) INTO v_open, v_reserved
        FROM ledger l WHERE l.tenant = m.tenant AND l.settled_at IS NULL;
    ELSE
        SELECT count(*), coalesce(sum(l.reserved), 0) INTO v_open, v_reserved
        FROM ledger l WHERE l.key_id = m.key_id AND l.settled_at IS NULL;
    END IF;
    v_reserved := v_reserved + coalesce(p_reserved, 0);
    reason := CASE
        WHEN v_open >= m.open_streams THEN 'open_streams'
        WHEN p_reserved IS NULL AND NOT m.allow_unpriced AND coalesce(m.monthly_budget, m.total_budget) IS NOT NULL
            THEN 'unpriced'
        WHEN CASE WHEN m.month = v_month THEN m.spent_in_month ELSE 0 END + v_reserved > m.monthly_budget
            THEN 'monthly_budget'
        WHEN m.spent + v_reserved > m.total_budget THEN 'total_budget'
    END;
END
$$;


-- Count one more completion on the limited meters of a key and its tenant, if both have room for it. Their rows stay
-- locked until the transaction ends: keys first, then tenants; settle() does the same.
-- `refusal` is as refusal_of() has it, `of_tenant` says whose limit it is. `second` is where it was counted.
-- `limits` and `remaining` tell of the requests and the tokens of a minute, by the tighter meter; NULL: no limit.
CREATE FUNCTION take(
    p_tenant text, p_key_id uuid, p_tokens bigint, p_reserved numeric,
    OUT refusal text, OUT retry_after int, OUT of_tenant boolean, OUT second bigint,
    OUT limits bigint[], OUT remaining bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    m meters;
    v_taken meters[] := '{}';
    v_limits bigint[];
    v_left bigint[];
BEGIN
    second := floor(extract(epoch FROM clock_timestamp()));
    limits := ARRAY[NULL, NULL];
    remaining := ARRAY[NULL, NULL];
    FOR m IN
        SELECT * FROM meters WHERE tenant = p_tenant AND (key_id = p_key_id OR key_id IS NULL) AND limited
        ORDER BY key_id NULLS LAST FOR UPDATE
    LOOP
        -- Read again after the wait for the lock; a clock that was set back must not empty a window.
        second := greatest(second, floor(extract(epoch FROM clock_timestamp())), m.newest);
        m := at_second(m, second);
        SELECT r.reason, r.retry_after INTO refusal, retry_after FROM refusal_of(m, p_tokens, p_reserved) r;
        IF refusal IS NULL THEN
            m.requests[61] := m.requests[61] + 1;
            m.tokens[61] := m.tokens[61] + p_tokens;
        END IF;
        v_limits := ARRAY[m.requests_per_minute, m.tokens_per_minute];
        v_left := ARRAY[v_limits[1] - (SELECT sum(n) FROM unnest(m.requests) n),
                        v_limits[2] - (SELECT sum(n) FROM unnest(m.tokens) n)];
        FOR v_i IN 1 .. 2 LOOP
            IF v_left[v_i] < remaining[v_i] OR remaining[v_i] IS NULL THEN
                limits[v_i] := v_limits[v_i];
                remaining[v_i] := greatest(v_left[v_i], 0);
            END IF;
        END LOOP;
        IF refusal IS NOT NULL THEN
            of_tenant := m.key_id IS NULL;
            RETURN;
        END IF;
        v_taken := v_taken || m;
    END LOOP;

    FOREACH m IN ARRAY v_taken LOOP
        m := at_second(m, second);
        UPDATE meters SET newest = m.newest, requests = m.requests, tokens = m.tokens
        WHERE tenant = m.tenant AND key_id IS NOT DISTINCT FROM m.key_id;
    END LOOP;
END
$$;


-- Make sure of an instance's lease, and keep it from being declared dead until the transaction ends; false if it was. Before
-- any other lock: whoever ends completions holds it too, and then waits for others.
CREATE FUNCTION hold_instance(p_instance uuid, p_home text, p_lease interval) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    v_instance instances;
BEGIN
    SELECT * INTO v_instance FROM instances WHERE id = p_instance;
    IF NOT FOUND THEN
        INSERT INTO instances (id, home, lease_until) VALUES (p_instance, p_home, clock_timestamp() + p_lease)
        ON CONFLICT (id) DO NOTHING;
    ELSIF v_instance.lease_until < clock_timestamp() + p_lease / 2 THEN
        -- An idle instance lets its lease lapse; it has to hold before the first row is there to be judged by it.
        UPDATE instances SET lease_until = clock_timestamp() + p_lease WHERE id = p_instance AND dead_at IS NULL;
    END IF;
    PERFORM 1 FROM instances WHERE id = p_instance AND dead_at IS NULL FOR SHARE;
    RETURN FOUND;
END
$$;


-- Decide on one request and insert it. `outcome` is one of
--   admitted       with the conversation's history, in order, without the messages just appended
--   duplicate      a request with this idempotency key and this body has made the completion `duplicate`
--   key_reused     one with another body has
--   limited        `refusal`, `retry_after` and `of_tenant` are those of take()
--   instance_dead  this process was declared dead: it needs a new id
--   no_conversation
--   busy           the conversation has a running completion; `busy_instance` owns it, `busy_alive` says if its lease holds
--   too_long       what came before has more than `p_max_history` bytes
--   previous_running, no_previous, previous_not_stored, previous_in_conversation, previous_deleted
--                  what stands against going on from `p_previous`; the last speaks of one further back in its chain
-- `chain_requests` and `chain_answers` are those of `p_previous` and all before it, the oldest first; an answer of which
-- nothing is kept is NULL. `reserved_input` is the estimate of all its input.
-- `p_rates` holds [above, input, output]: the price of a token of either kind, where there are more than so many tokens of
-- input; the last that fits counts. Where it is empty the price is not known.
CREATE FUNCTION admit(
    p_id uuid, p_tenant text, p_key_id uuid, p_instance uuid, p_home text, p_lease interval,
    p_model text, p_request bytea, p_store boolean, p_on_disconnect text, p_metadata jsonb,
    p_conversation uuid, p_message_ids uuid[], p_roles text[], p_contents bytea[], p_message_tokens int[],
    p_previous uuid, p_background boolean, p_max_history bigint,
    p_idempotency_key text, p_request_sha256 bytea,
    p_asked jsonb, p_input_tokens bigint, p_output_tokens bigint, p_rates jsonb,
    OUT outcome text, OUT busy_instance uuid, OUT busy_alive boolean, OUT duplicate uuid,
    OUT system bytea, OUT history_roles text[], OUT history_contents bytea[],
    OUT chain_requests bytea[], OUT chain_answers bytea[], OUT reserved_input bigint,
    OUT refusal text, OUT retry_after int, OUT of_tenant boolean, OUT limits bigint[], OUT remaining bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_last int;
    v_chain uuid[];
    v_bytes bigint;
    v_reserved numeric;
    v_second bigint;
BEGIN
    IF NOT hold_instance(p_instance, p_home, p_lease) THEN
        outcome := 'instance_dead';
        RETURN;
    END IF;

    -- Before anything is counted or locked, and waiting for one that is being admitted just now.
    IF p_idempotency_key IS NOT NULL THEN
        INSERT INTO idempotency_keys (tenant, key, request_sha256, resource)
        VALUES (p_tenant, p_idempotency_key, p_request_sha256, p_id) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT k.resource, CASE WHEN k.request_sha256 = p_request_sha256 THEN 'duplicate' ELSE 'key_reused' END
            INTO duplicate, outcome FROM idempotency_keys k WHERE k.tenant = p_tenant AND k.key = p_idempotency_key;
            RETURN;
        END IF;
    END IF;

    <<decide>>
    BEGIN
        reserved_input := p_input_tokens;
        IF p_conversation IS NOT NULL THEN
            SELECT c.system INTO system FROM conversations c
            WHERE c.id = p_conversation AND c.tenant = p_tenant FOR UPDATE;
            IF NOT FOUND THEN
                outcome := 'no_conversation';
                EXIT decide;
            END IF;
            SELECT c.instance_id, lease_holds(i.lease_until, i.dead_at, p_lease) INTO busy_instance, busy_alive
            FROM completions c LEFT JOIN instances i ON i.id = c.instance_id
            WHERE c.conversation_id = p_conversation AND c.status = 'streaming';
            IF FOUND THEN
                outcome := 'busy';
                EXIT decide;
            END IF;
            SELECT coalesce(sum(octet_length(m.content)), 0), max(m.position),
                   reserved_input + coalesce(sum(coalesce(m.tokens, octet_length(m.content) / 3)), 0)
            INTO v_bytes, v_last, reserved_input
            FROM messages m WHERE m.conversation_id = p_conversation;
            IF v_bytes > p_max_history THEN
                outcome := 'too_long';
                EXIT decide;
            END IF;
            SELECT array_agg(m.role ORDER BY m.position), array_agg(m.content ORDER BY m.position)
            INTO history_roles, history_contents
            FROM messages m WHERE m.conversation_id = p_conversation;
        END IF;

        IF p_previous IS NOT NULL THEN
            SELECT 'previous_running', i.id, lease_holds(i.lease_until, i.dead_at, p_lease)
            INTO outcome, busy_instance, busy_alive
            FROM completions c LEFT JOIN instances i ON i.id = c.instance_id
            WHERE c.id = p_previous AND c.tenant = p_tenant AND c.status = 'streaming';
            IF FOUND THEN
                EXIT decide;
            END IF;
            WITH RECURSIVE chain AS (
                SELECT 1 AS age, c.id, c.previous_id, c.conversation_id, c.store,
                       octet_length(c.request) + coalesce(octet_length(c.content), 0) AS bytes
                FROM completions c WHERE c.id = p_previous AND c.tenant = p_tenant
                UNION ALL
                SELECT n.age + 1, c.id, c.previous_id, c.conversation_id, c.store,
                       octet_length(c.request) + coalesce(octet_length(c.content), 0)
                FROM chain n JOIN completions c ON c.id = n.previous_id AND c.tenant = p_tenant
            )
            SELECT array_agg(n.id ORDER BY n.age DESC), sum(n.bytes),
                   CASE WHEN count(*) = 0 THEN 'no_previous'
                        WHEN bool_or(n.conversation_id IS NOT NULL) THEN 'previous_in_conversation'
                        WHEN bool_or(NOT n.store) THEN 'previous_not_stored'
                        WHEN count(n.previous_id) = count(*) THEN 'previous_deleted'
                        WHEN sum(n.bytes) > p_max_history THEN 'too_long' END
            INTO v_chain, v_bytes, outcome
            FROM chain n;
            IF outcome IS NOT NULL THEN
                EXIT decide;
            END IF;
            SELECT array_agg(c.request ORDER BY n.ordinality),
                   array_agg(CASE c.status WHEN 'completed' THEN c.content ELSE c.kept END ORDER BY n.ordinality)
            INTO chain_requests, chain_answers
            FROM unnest(v_chain) WITH ORDINALITY AS n (id, ordinality) JOIN completions c ON c.id = n.id;
            reserved_input := reserved_input + v_bytes / 3;
        END IF;

        SELECT reserved_input * (r.rate ->> 1)::numeric + p_output_tokens * (r.rate ->> 2)::numeric INTO v_reserved
        FROM jsonb_array_elements(p_rates) AS r (rate)
        WHERE (r.rate ->> 0)::bigint <= reserved_input ORDER BY (r.rate ->> 0)::bigint DESC LIMIT 1;
        SELECT t.refusal, t.retry_after, t.of_tenant, t.second, t.limits, t.remaining
        INTO refusal, retry_after, of_tenant, v_second, limits, remaining
        FROM take(p_tenant, p_key_id, reserved_input + p_output_tokens, v_reserved) t;
        IF refusal IS NOT NULL THEN
            outcome := 'limited';
            EXIT decide;
        END IF;

        IF p_conversation IS NOT NULL THEN
            INSERT INTO messages (id, conversation_id, position, role, content, completion_id, tokens)
            SELECT n.id, p_conversation, coalesce(v_last, 0) + n.ordinality, n.role, n.content, p_id, n.tokens
            FROM unnest(p_message_ids, p_roles, p_contents, p_message_tokens)
                WITH ORDINALITY AS n (id, role, content, tokens, ordinality);
            UPDATE conversations SET updated_at = clock_timestamp() WHERE id = p_conversation;
        END IF;
        INSERT INTO completions (id, tenant, key_id, conversation_id, previous_id, model, request, store, background,
                                 on_disconnect, metadata, instance_id)
        VALUES (p_id, p_tenant, p_key_id, p_conversation, p_previous, p_model, p_request, p_store, p_background,
                p_on_disconnect, p_metadata, p_instance);
        INSERT INTO ledger (completion_id, tenant, key_id, conversation_id, model, asked,
                            reserved_input, reserved_output, reserved, second)
        VALUES (p_id, p_tenant, p_key_id, p_conversation, p_model, p_asked,
                reserved_input, p_output_tokens, v_reserved, v_second);
        outcome := 'admitted';
    END decide;

    IF outcome <> 'admitted' AND p_idempotency_key IS NOT NULL THEN
        DELETE FROM idempotency_keys WHERE tenant = p_tenant AND key = p_idempotency_key;
    END IF;
END
$$;


-- Several at once, for requests that stand alone: without a conversation, a previous completion or an idempotency key. So
-- this waits for nothing but meters, and those are locked first, in the order that everybody keeps. `p_others` holds a JSON
-- object each, with what else there is to say. Answers are in the order of `p_ids`.
CREATE FUNCTION admit_all(
    p_instance uuid, p_home text, p_lease interval, p_ids uuid[], p_requests bytea[], p_others text[]
) RETURNS TABLE (
    outcome text, reserved_input bigint, refusal text, retry_after int, of_tenant boolean, limits bigint[], remaining bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    v_others jsonb[] := p_others::jsonb[];
BEGIN
    PERFORM hold_instance(p_instance, p_home, p_lease);
    PERFORM 1 FROM meters m
    WHERE m.limited AND (m.tenant, m.key_id) IN (
        SELECT o ->> 'tenant', (o ->> 'key_id')::uuid FROM unnest(v_others) o)
       OR m.limited AND m.key_id IS NULL AND m.tenant IN (SELECT o ->> 'tenant' FROM unnest(v_others) o)
    ORDER BY m.key_id NULLS LAST, m.tenant FOR UPDATE;
    FOR v_i IN 1 .. array_length(p_ids, 1) LOOP
        RETURN QUERY
            SELECT a.outcome, a.reserved_input, a.refusal, a.retry_after, a.of_tenant, a.limits, a.remaining
            FROM admit(
                p_ids[v_i], v_others[v_i] ->> 'tenant', (v_others[v_i] ->> 'key_id')::uuid, p_instance, p_home, p_lease,
                v_others[v_i] ->> 'model', p_requests[v_i], (v_others[v_i] ->> 'store')::boolean,
                v_others[v_i] ->> 'on_disconnect', v_others[v_i] -> 'metadata',
                NULL, NULL, NULL, NULL, NULL, NULL, (v_others[v_i] ->> 'background')::boolean, 0,
                NULL, NULL,
                v_others[v_i] -> 'asked', (v_others[v_i] ->> 'input_tokens')::bigint,
                (v_others[v_i] ->> 'output_tokens')::bigint, v_others[v_i] -> 'rates') a;
    END LOOP;
END
$$;


-- Close the ledger's rows, and book them on the meters of their keys and tenants. `p_bills` holds a JSON object each, of
-- the ledger's columns. The meters come last in a transaction, so that nobody waits for them for longer than it takes
-- to commit; keys first, then tenants, as take() has it.
CREATE FUNCTION book(p_ids uuid[], p_statuses text[], p_bills text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    l ledger;
    b ledger;
    m meters;
    v_booked ledger[] := '{}';
    v_slot int;
    v_cost numeric;
    v_month date := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
BEGIN
    FOR v_i IN 1 .. coalesce(array_length(p_ids, 1), 0) LOOP
        b := jsonb_populate_record(NULL::ledger, p_bills[v_i]::jsonb);
        UPDATE ledger SET
            settled_at = clock_timestamp(), status = p_statuses[v_i],
            input_tokens = b.input_tokens, output_tokens = b.output_tokens, cache_read_tokens = b.cache_read_tokens,
            cache_write_5m_tokens = b.cache_write_5m_tokens, cache_write_1h_tokens = b.cache_write_1h_tokens,
            web_searches = b.web_searches, cost = b.cost, price = b.price, estimated = b.estimated
        WHERE completion_id = p_ids[v_i] AND settled_at IS NULL
        RETURNING * INTO l;
        IF FOUND THEN
            v_booked := v_booked || l;
        END IF;
    END LOOP;

    FOR m IN
        SELECT * FROM meters k
        WHERE k.key_id IN (SELECT key_id FROM unnest(v_booked))
           OR (k.key_id IS NULL AND k.tenant IN (SELECT tenant FROM unnest(v_booked)))
        ORDER BY k.key_id NULLS LAST, k.tenant FOR UPDATE
    LOOP
        v_cost := 0;
        FOR l IN
            SELECT * FROM unnest(v_booked) n WHERE n.key_id = m.key_id OR (m.key_id IS NULL AND n.tenant = m.tenant)
        LOOP
            v_cost := v_cost + coalesce(l.cost, 0);
            v_slot := 61 - (m.newest - l.second);
            IF v_slot BETWEEN 1 AND 61 THEN
                -- A window has what was reserved, until it is known what it was.
                m.tokens[v_slot] := greatest(
                    m.tokens[v_slot] - l.reserved_input - l.reserved_output
                    + l.input_tokens + l.cache_read_tokens + l.cache_write_5m_tokens + l.cache_write_1h_tokens
                    + l.output_tokens, 0);
            END IF;
        END LOOP;
        UPDATE meters SET
            tokens = m.tokens, spent = m.spent + v_cost, month = v_month,
            spent_in_month = CASE WHEN m.month = v_month THEN m.spent_in_month ELSE 0 END + v_cost
        WHERE tenant = m.tenant AND key_id IS NOT DISTINCT FROM m.key_id;
    END LOOP;
END
$$;


-- Finish completions of one owner. The caller has made sure that no other may. Answers the ids that it finished.
CREATE FUNCTION settle(
    p_owner uuid, p_ids uuid[], p_statuses text[], p_stop_reasons text[], p_contents bytea[], p_usages bytea[], p_errors bytea[],
    p_attempts int[], p_first_event_ms float8[], p_end_seqs bigint[], p_logs bytea[],
    p_message_ids uuid[], p_answers bytea[], p_forget_input boolean[], p_bills text[]
) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    v completions;
    v_done int[] := '{}';
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
        IF p_forget_input[v_i] THEN
            DELETE FROM idempotency_keys WHERE resource = v.id;
        END IF;
        IF v.conversation_id IS NOT NULL THEN
            IF p_forget_input[v_i] THEN
                -- The positions are free again: nobody else has written here meanwhile.
                DELETE FROM messages WHERE conversation_id = v.conversation_id AND completion_id = v.id;
                INSERT INTO messages (id, conversation_id, position, role, content, completion_id, created_at, tokens)
                SELECT r.id, r.conversation_id, r.position, r.role, r.content, r.completion_id, r.created_at, r.tokens
                FROM replaced_messages r WHERE r.replaced_by = v.id;
            ELSIF p_answers[v_i] IS NOT NULL THEN
                INSERT INTO messages (id, conversation_id, position, role, content, completion_id, tokens)
                SELECT p_message_ids[v_i], v.conversation_id, coalesce(max(m.position), 0) + 1, 'assistant',
                       p_answers[v_i], v.id, (p_bills[v_i]::jsonb ->> 'output_tokens')::int
                FROM messages m WHERE m.conversation_id = v.conversation_id;
            END IF;
            DELETE FROM replaced_messages WHERE replaced_by = v.id;
            UPDATE conversations SET updated_at = clock_timestamp() WHERE id = v.conversation_id;
        END IF;
        v_done := v_done || v_i;
        RETURN NEXT v.id;
    END LOOP;
    PERFORM book(array_agg(p_ids[n.i]), array_agg(p_statuses[n.i]), array_agg(p_bills[n.i])) FROM unnest(v_done) AS n (i);
END
$$;


-- One tick of one process: the new events of all its streams, and the ends among them. Safe to repeat unchanged.
-- Answers the ids that were refused, because the instance was declared dead or the completion is not (or no longer) its own.
CREATE FUNCTION record(
    p_instance uuid,
    p_ids uuid[], p_firsts bigint[], p_lasts bigint[], p_datas bytea[],
    p_ended uuid[], p_statuses text[], p_stop_reasons text[], p_contents bytea[], p_usages bytea[], p_errors bytea[],
    p_attempts int[], p_first_event_ms float8[], p_end_seqs bigint[], p_logs bytea[],
    p_message_ids uuid[], p_answers bytea[], p_forget_input boolean[], p_bills text[]
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
                       p_first_event_ms, p_end_seqs, p_logs, p_message_ids, p_answers, p_forget_input, p_bills);
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
