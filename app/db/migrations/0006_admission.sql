-- The same decisions and bookings, with less to do for each: what a window comes to is kept beside its counters, requests
-- that stand alone are decided on by a function that asks for nothing else, and ends come as one document.
--
-- The first run of a statement or an expression in a transaction costs most, and most of these transactions have one request
-- or one end: so there are few of them here. Earlier versions go on calling `admit_all`, `record` and `settle` of 0002.

-- Nothing writes this column, and its index was written twice for a completion.
ALTER TABLE completions DROP CONSTRAINT completions_tenant_idempotency_key_key;

ALTER TABLE meters
    ADD COLUMN requests_in_window bigint NOT NULL DEFAULT 0,
    ADD COLUMN tokens_in_window   bigint NOT NULL DEFAULT 0;
UPDATE meters SET
    requests_in_window = (SELECT sum(n) FROM unnest(requests) n),
    tokens_in_window = (SELECT sum(n) FROM unnest(tokens) n);

-- One index for what is open of a key and of a tenant. Of two that are small alike, the planner took either for both, and
-- then read what is open of all.
CREATE INDEX ledger_open ON ledger (tenant, key_id) INCLUDE (reserved) WHERE settled_at IS NULL;
DROP INDEX ledger_open_of_key, ledger_open_of_tenant;


CREATE OR REPLACE FUNCTION at_second(m meters, p_second bigint) RETURNS meters LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_gone int := least(greatest(p_second - m.newest, 0), 61);
BEGIN
    IF v_gone > 0 THEN
        m.requests := (m.requests || array_fill(0, ARRAY[v_gone]))[v_gone + 1 : v_gone + 61];
        m.tokens := (m.tokens || array_fill(0::bigint, ARRAY[v_gone]))[v_gone + 1 : v_gone + 61];
        m.requests_in_window := (SELECT sum(n) FROM unnest(m.requests) n);
        m.tokens_in_window := (SELECT sum(n) FROM unnest(m.tokens) n);
        m.newest := p_second;
    END IF;
    RETURN m;
END
$$;


CREATE OR REPLACE FUNCTION refusal_of(m meters, p_tokens bigint, p_reserved numeric, OUT reason text, OUT retry_after int)
LANGUAGE plpgsql AS $$
DECLARE
    v_open bigint;
    v_reserved numeric;
BEGIN
    IF m.requests_in_window >= m.requests_per_minute THEN
        reason := 'requests';
        retry_after := seconds_until(m.requests, m.requests_in_window - m.requests_per_minute + 1);
    ELSIF p_tokens > m.tokens_per_minute THEN
        reason := 'too_many_tokens';
    ELSIF m.tokens_in_window + p_tokens > m.tokens_per_minute THEN
        reason := 'tokens';
        retry_after := seconds_until(m.tokens, m.tokens_in_window + p_tokens - m.tokens_per_minute);
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
        FROM ledger l WHERE l.tenant = m.tenant AND l.key_id = m.key_id AND l.settled_at IS NULL;
    END IF;
    v_reserved := v_reserved + coalesce(p_reserved, 0);
    reason := CASE
        WHEN v_open >= m.open_streams THEN 'open_streams'
        WHEN p_reserved IS NULL AND NOT m.allow_unpriced AND coalesce(m.monthly_budget, m.total_budget) IS NOT NULL
            THEN 'unpriced'
        WHEN CASE WHEN m.month = date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') THEN m.spent_in_month ELSE 0 END
             + v_reserved > m.monthly_budget
            THEN 'monthly_budget'
        WHEN m.spent + v_reserved > m.total_budget THEN 'total_budget'
    END;
END
$$;


CREATE OR REPLACE FUNCTION take(
    p_tenant text, p_key_id uuid, p_tokens bigint, p_reserved numeric,
    OUT refusal text, OUT retry_after int, OUT of_tenant boolean, OUT second bigint,
    OUT limits bigint[], OUT remaining bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    m meters;
    v_of_key meters;
    v_of_tenant meters;
    v_against record;
    v_left bigint;
BEGIN
    second := floor(extract(epoch FROM clock_timestamp()));
    limits := ARRAY[NULL, NULL];
    remaining := ARRAY[NULL, NULL];
    FOR v_whose IN 1 .. 2 LOOP
        IF v_whose = 1 THEN
            SELECT * INTO m FROM meters k WHERE k.tenant = p_tenant AND k.key_id = p_key_id AND k.limited FOR UPDATE;
        ELSE
            SELECT * INTO m FROM meters k WHERE k.tenant = p_tenant AND k.key_id IS NULL AND k.limited FOR UPDATE;
        END IF;
        CONTINUE WHEN NOT FOUND;
        -- Read again after the wait for the lock; a clock that was set back must not empty a window.
        second := greatest(second, floor(extract(epoch FROM clock_timestamp())), m.newest);
        IF second > m.newest THEN
            m := at_second(m, second);
        END IF;
        v_against := refusal_of(m, p_tokens, p_reserved);
        IF v_against.reason IS NULL THEN
            m.requests[61] := m.requests[61] + 1;
            m.tokens[61] := m.tokens[61] + p_tokens;
            m.requests_in_window := m.requests_in_window + 1;
            m.tokens_in_window := m.tokens_in_window + p_tokens;
        END IF;
        IF m.requests_per_minute IS NOT NULL THEN
            v_left := m.requests_per_minute - m.requests_in_window;
            IF v_left < remaining[1] OR remaining[1] IS NULL THEN
                limits[1] := m.requests_per_minute;
                remaining[1] := greatest(v_left, 0);
            END IF;
        END IF;
        IF m.tokens_per_minute IS NOT NULL THEN
            v_left := m.tokens_per_minute - m.tokens_in_window;
            IF v_left < remaining[2] OR remaining[2] IS NULL THEN
                limits[2] := m.tokens_per_minute;
                remaining[2] := greatest(v_left, 0);
            END IF;
        END IF;
        IF v_against.reason IS NOT NULL THEN
            refusal := v_against.reason;
            retry_after := v_against.retry_after;
            of_tenant := v_whose = 2;
            RETURN;
        END IF;
        IF v_whose = 1 THEN
            v_of_key := m;
        ELSE
            v_of_tenant := m;
        END IF;
    END LOOP;

    IF v_of_key.tenant IS NOT NULL THEN
        IF v_of_key.newest < second THEN  -- the wait for the tenant's
            v_of_key := at_second(v_of_key, second);
        END IF;
        UPDATE meters SET
            newest = v_of_key.newest, requests = v_of_key.requests, tokens = v_of_key.tokens,
            requests_in_window = v_of_key.requests_in_window, tokens_in_window = v_of_key.tokens_in_window
        WHERE tenant = p_tenant AND key_id = p_key_id;
    END IF;
    IF v_of_tenant.tenant IS NOT NULL THEN
        UPDATE meters SET
            newest = v_of_tenant.newest, requests = v_of_tenant.requests, tokens = v_of_tenant.tokens,
            requests_in_window = v_of_tenant.requests_in_window, tokens_in_window = v_of_tenant.tokens_in_window
        WHERE tenant = p_tenant AND key_id IS NULL;
    END IF;
END
$$;


CREATE OR REPLACE FUNCTION hold_instance(p_instance uuid, p_home text, p_lease interval) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM instances
    WHERE id = p_instance AND dead_at IS NULL AND lease_until >= clock_timestamp() + p_lease / 2 FOR SHARE;
    IF FOUND THEN
        RETURN true;
    END IF;
    -- An idle instance lets its lease lapse; it has to hold before the first row is there to be judged by it.
    INSERT INTO instances (id, home, lease_until) VALUES (p_instance, p_home, clock_timestamp() + p_lease)
    ON CONFLICT (id) DO NOTHING;
    IF NOT FOUND THEN
        UPDATE instances SET lease_until = clock_timestamp() + p_lease
        WHERE id = p_instance AND dead_at IS NULL AND lease_until < clock_timestamp() + p_lease / 2;
    END IF;
    PERFORM 1 FROM instances WHERE id = p_instance AND dead_at IS NULL FOR SHARE;
    RETURN FOUND;
END
$$;


-- What the end of a completion changes on the meters of its key and its tenant: `tokens` is what it used, less what was
-- reserved, in the second of its admission.
CREATE TYPE booking AS (tenant text, key_id uuid, second bigint, tokens bigint, cost numeric);

DROP FUNCTION book_on(meters, ledger[]);
CREATE FUNCTION book_on(m meters, p_bookings booking[]) RETURNS meters LANGUAGE plpgsql AS $$
DECLARE
    b booking;
    v_slot int;
    v_tokens bigint;
    v_cost numeric := 0;
    v_month date := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
BEGIN
    FOREACH b IN ARRAY p_bookings LOOP
        CONTINUE WHEN b.tenant <> m.tenant OR (m.key_id IS NOT NULL AND b.key_id IS DISTINCT FROM m.key_id);
        v_cost := v_cost + coalesce(b.cost, 0);
        v_slot := 61 - (m.newest - b.second);
        IF v_slot BETWEEN 1 AND 61 THEN
            v_tokens := greatest(m.tokens[v_slot] + b.tokens, 0);
            m.tokens_in_window := m.tokens_in_window + v_tokens - m.tokens[v_slot];
            m.tokens[v_slot] := v_tokens;
        END IF;
    END LOOP;
    m.spent := m.spent + v_cost;
    m.spent_in_month := CASE WHEN m.month = v_month THEN m.spent_in_month ELSE 0 END + v_cost;
    m.month := v_month;
    RETURN m;
END
$$;

-- The meters come last in a transaction, so that nobody waits for them for longer than it takes to commit; keys first, then
-- tenants, as take() has it. One by one, each by its index: a plan for all depends on how many there are when it is made.
CREATE FUNCTION book(p_bookings booking[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    m meters;
    v_key uuid;
    v_tenant text;
BEGIN
    FOR v_key, v_tenant IN
        SELECT DISTINCT key_id, tenant FROM unnest(p_bookings) WHERE key_id IS NOT NULL ORDER BY key_id
    LOOP
        SELECT * INTO m FROM meters WHERE tenant = v_tenant AND key_id = v_key FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        m := book_on(m, p_bookings);
        UPDATE meters SET
            tokens = m.tokens, tokens_in_window = m.tokens_in_window,
            spent = m.spent, month = m.month, spent_in_month = m.spent_in_month
        WHERE tenant = v_tenant AND key_id = v_key;
    END LOOP;
    FOR v_tenant IN SELECT DISTINCT tenant FROM unnest(p_bookings) ORDER BY tenant LOOP
        SELECT * INTO m FROM meters WHERE tenant = v_tenant AND key_id IS NULL FOR UPDATE;
        CONTINUE WHEN NOT FOUND;
        m := book_on(m, p_bookings);
        UPDATE meters SET
            tokens = m.tokens, tokens_in_window = m.tokens_in_window,
            spent = m.spent, month = m.month, spent_in_month = m.spent_in_month
        WHERE tenant = v_tenant AND key_id IS NULL;
    END LOOP;
END
$$;

-- Close a row of the ledger; `p_bill` is an object of its columns. NULL if it was closed before, or never opened.
CREATE FUNCTION close_ledger(p_id uuid, p_status text, p_bill jsonb) RETURNS booking LANGUAGE plpgsql AS $$
DECLARE
    b booking;
BEGIN
    UPDATE ledger l SET
        settled_at = clock_timestamp(), status = p_status,
        input_tokens = n.input_tokens, output_tokens = n.output_tokens, cache_read_tokens = n.cache_read_tokens,
        cache_write_5m_tokens = n.cache_write_5m_tokens, cache_write_1h_tokens = n.cache_write_1h_tokens,
        web_searches = n.web_searches, cost = n.cost, price = n.price, estimated = n.estimated
    FROM jsonb_to_record(p_bill) AS n (
        input_tokens bigint, output_tokens bigint, cache_read_tokens bigint, cache_write_5m_tokens bigint,
        cache_write_1h_tokens bigint, web_searches int, cost numeric, price jsonb, estimated boolean)
    WHERE l.completion_id = p_id AND l.settled_at IS NULL
    RETURNING l.tenant, l.key_id, l.second,
        l.input_tokens + l.cache_read_tokens + l.cache_write_5m_tokens + l.cache_write_1h_tokens + l.output_tokens
        - l.reserved_input - l.reserved_output, l.cost
    INTO b;
    IF FOUND THEN
        RETURN b;
    END IF;
    RETURN NULL;
END
$$;

-- For the settle() of earlier versions.
CREATE OR REPLACE FUNCTION book(p_ids uuid[], p_statuses text[], p_bills text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    b booking;
    v_bookings booking[] := '{}';
BEGIN
    FOR v_i IN 1 .. coalesce(array_length(p_ids, 1), 0) LOOP
        b := close_ledger(p_ids[v_i], p_statuses[v_i], p_bills[v_i]::jsonb);
        IF b.tenant IS NOT NULL THEN
            v_bookings := v_bookings || b;
        END IF;
    END LOOP;
    PERFORM book(v_bookings);
END
$$;


-- Finish completions of one owner. The caller has made sure that no other may. Answers the ids that it finished. `p_ends` has
-- an object for each, and `p_data` a row of what may be large: log, content, usage, error, and what a conversation keeps.
CREATE FUNCTION settle(p_owner uuid, p_data bytea[], p_ends jsonb) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    e record;
    b booking;
    v completions;
    v_bookings booking[] := '{}';
BEGIN
    FOR e IN
        SELECT * FROM ROWS FROM (
            jsonb_to_recordset(p_ends) AS (
                id uuid, status text, stop_reason text, attempts int, first_event_ms float8, end_seq bigint, message_id uuid,
                forget_input boolean, bill jsonb)
        ) WITH ORDINALITY AS n (id, status, stop_reason, attempts, first_event_ms, end_seq, message_id, forget_input, bill, i)
    LOOP
        UPDATE completions c SET
            status = e.status, stop_reason = e.stop_reason, usage = p_data[e.i][3], error = p_data[e.i][4],
            content = CASE WHEN c.store THEN p_data[e.i][2] END,
            kept = CASE WHEN c.store AND e.status <> 'completed' THEN p_data[e.i][5] END,
            request = CASE WHEN c.store THEN c.request END,
            attempts = e.attempts, end_seq = e.end_seq,
            first_event_at = c.created_at + e.first_event_ms * interval '1 ms',
            finished_at = clock_timestamp()
        WHERE c.id = e.id AND c.instance_id = p_owner AND c.status = 'streaming'
        RETURNING * INTO v;
        CONTINUE WHEN NOT FOUND;

        DELETE FROM completion_events WHERE completion_id = v.id;
        IF v.store THEN
            INSERT INTO completion_logs (completion_id, data) VALUES (v.id, p_data[e.i][1]);
        END IF;
        IF e.forget_input THEN
            DELETE FROM idempotency_keys WHERE resource = v.id;
        END IF;
        IF v.conversation_id IS NOT NULL THEN
            IF e.forget_input THEN
                -- The positions are free again: nobody else has written here meanwhile.
                DELETE FROM messages WHERE conversation_id = v.conversation_id AND completion_id = v.id;
                INSERT INTO messages (id, conversation_id, position, role, content, completion_id, created_at, tokens)
                SELECT r.id, r.conversation_id, r.position, r.role, r.content, r.completion_id, r.created_at, r.tokens
                FROM replaced_messages r WHERE r.replaced_by = v.id;
            ELSIF p_data[e.i][5] IS NOT NULL THEN
                INSERT INTO messages (id, conversation_id, position, role, content, completion_id, tokens)
                SELECT e.message_id, v.conversation_id, coalesce(max(m.position), 0) + 1, 'assistant',
                       p_data[e.i][5], v.id, (e.bill ->> 'output_tokens')::int
                FROM messages m WHERE m.conversation_id = v.conversation_id;
            END IF;
            DELETE FROM replaced_messages WHERE replaced_by = v.id;
            UPDATE conversations SET updated_at = clock_timestamp() WHERE id = v.conversation_id;
        END IF;
        b := close_ledger(e.id, e.status, e.bill);
        IF b.tenant IS NOT NULL THEN
            v_bookings := v_bookings || b;
        END IF;
        RETURN NEXT v.id;
    END LOOP;
    PERFORM book(v_bookings);
END
$$;


-- One tick of one process: the new events of all its streams, and the ends of others. Safe to repeat unchanged.
-- Answers the ids that were refused, because the instance was declared dead or the completion is not (or no longer) its own.
CREATE FUNCTION record(
    p_instance uuid, p_ids uuid[], p_firsts bigint[], p_lasts bigint[], p_datas bytea[], p_end_data bytea[], p_ends jsonb
) RETURNS SETOF uuid LANGUAGE plpgsql AS $$
DECLARE
    v_own uuid[];
    v_settled uuid[];
BEGIN
    -- The fence: whoever declares this instance dead waits for this lock, and is then seen by every later tick.
    PERFORM 1 FROM instances WHERE id = p_instance AND dead_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN QUERY SELECT unnest(p_ids) UNION ALL SELECT n.id FROM jsonb_to_recordset(p_ends) AS n (id uuid);
        RETURN;
    END IF;

    IF array_length(p_ids, 1) > 0 THEN
        v_own := ARRAY(
            SELECT c.id FROM completions c
            WHERE c.id = ANY (p_ids) AND c.instance_id = p_instance AND c.status = 'streaming');
        INSERT INTO completion_events (completion_id, first_seq, last_seq, data)
        SELECT n.id, n.first_seq, n.last_seq, n.data
        FROM unnest(p_ids, p_firsts, p_lasts, p_datas) AS n (id, first_seq, last_seq, data)
        WHERE n.id = ANY (v_own)
        ON CONFLICT DO NOTHING;
        RETURN QUERY SELECT n.id FROM unnest(p_ids) AS n (id) WHERE n.id <> ALL (v_own);
    END IF;

    IF jsonb_array_length(p_ends) > 0 THEN
        v_settled := ARRAY(SELECT settle(p_instance, p_end_data, p_ends));
        IF cardinality(v_settled) < jsonb_array_length(p_ends) THEN
            -- Those that an earlier call has settled, whose answer was lost, are not refused.
            RETURN QUERY
                SELECT n.id FROM jsonb_to_recordset(p_ends) AS n (id uuid, end_seq bigint)
                WHERE n.id <> ALL (v_settled) AND NOT EXISTS (
                    SELECT FROM completions c
                    WHERE c.id = n.id AND c.instance_id = p_instance AND c.end_seq = n.end_seq);
        END IF;
    END IF;
END
$$;


-- What a request may cost: `p_rates` holds [above, input, output], by the length of the input; the last that fits counts.
-- NULL where there is none, and the price is not known.
CREATE FUNCTION reservation(p_rates jsonb, p_input bigint, p_output bigint) RETURNS numeric LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    FOR v_i IN REVERSE jsonb_array_length(p_rates) - 1 .. 0 LOOP
        IF (p_rates -> v_i ->> 0)::bigint <= p_input THEN
            RETURN p_input * (p_rates -> v_i ->> 1)::numeric + p_output * (p_rates -> v_i ->> 2)::numeric;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;


-- The limited meters of several requests, before they are taken one by one: keys first, then tenants.
CREATE FUNCTION lock_meters(p_each jsonb) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM (
        SELECT DISTINCT o ->> 'tenant' AS tenant, (o ->> 'key_id')::uuid AS key_id FROM jsonb_array_elements(p_each) o) n
    JOIN meters m ON m.tenant = n.tenant AND m.key_id = n.key_id
    WHERE m.limited ORDER BY m.key_id FOR UPDATE OF m;
    PERFORM 1 FROM (SELECT DISTINCT o ->> 'tenant' AS tenant FROM jsonb_array_elements(p_each) o) n
    JOIN meters m ON m.tenant = n.tenant AND m.key_id IS NULL
    WHERE m.limited ORDER BY m.tenant FOR UPDATE OF m;
END
$$;


-- Decide on requests that stand alone, without a conversation, a previous completion or an idempotency key, and insert those
-- that are admitted. So this waits for nothing but meters, which are locked in the order that everybody keeps. `p_rest` says
-- whose they are (`instance`, `home`, `lease`) and has in `each` an object for each request, with all but its text. The answer
-- is a JSON array in their order, of what admit() answers under the same names.
CREATE FUNCTION admit_alone(p_requests bytea[], p_rest jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    v_instance uuid := p_rest ->> 'instance';
    v_each jsonb := p_rest -> 'each';
    v_reserved numeric;
    v_answers json[] := '{}';
    r record;
    t record;
BEGIN
    IF NOT hold_instance(v_instance, p_rest ->> 'home', (p_rest ->> 'lease')::interval) THEN
        RETURN (SELECT json_agg('{"outcome": "instance_dead"}'::json) FROM unnest(p_requests));
    END IF;
    IF jsonb_array_length(v_each) > 1 THEN
        PERFORM lock_meters(v_each);
    END IF;
    FOR r IN
        SELECT * FROM ROWS FROM (
            unnest(p_requests),
            jsonb_to_recordset(v_each) AS (
                id uuid, tenant text, key_id uuid, model text, store boolean, background boolean, on_disconnect text,
                metadata jsonb, asked jsonb, input_tokens bigint, output_tokens bigint, rates jsonb)
        ) AS n (request)
    LOOP
        v_reserved := reservation(r.rates, r.input_tokens, r.output_tokens);
        t := take(r.tenant, r.key_id, r.input_tokens + r.output_tokens, v_reserved);
        IF t.refusal IS NULL THEN
            INSERT INTO completions (id, tenant, key_id, model, request, store, background, on_disconnect, metadata, instance_id)
            VALUES (r.id, r.tenant, r.key_id, r.model, r.request, r.store, r.background, r.on_disconnect, r.metadata, v_instance);
            INSERT INTO ledger (completion_id, tenant, key_id, model, asked, reserved_input, reserved_output, reserved, second)
            VALUES (r.id, r.tenant, r.key_id, r.model, r.asked, r.input_tokens, r.output_tokens, v_reserved, t.second);
        END IF;
        v_answers := v_answers || json_build_object(
            'outcome', CASE WHEN t.refusal IS NULL THEN 'admitted' ELSE 'limited' END, 'reserved_input', r.input_tokens,
            'refusal', t.refusal, 'retry_after', t.retry_after, 'of_tenant', t.of_tenant,
            'limits', t.limits, 'remaining', t.remaining);
    END LOOP;
    RETURN array_to_json(v_answers);
END
$$;
