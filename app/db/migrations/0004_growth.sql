-- The same decisions and bookings as in 0002, with less to do for each: a meter is found by its index (`IS NOT DISTINCT
-- FROM` and `OR` read all of a tenant's), its windows are summed up once, and what was not shifted is not shifted again.

CREATE OR REPLACE FUNCTION take(
    p_tenant text, p_key_id uuid, p_tokens bigint, p_reserved numeric,
    OUT refusal text, OUT retry_after int, OUT of_tenant boolean, OUT second bigint,
    OUT limits bigint[], OUT remaining bigint[]
) LANGUAGE plpgsql AS $$
DECLARE
    m meters;
    v_of_key meters;
    v_of_tenant meters;
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
        SELECT r.reason, r.retry_after INTO refusal, retry_after FROM refusal_of(m, p_tokens, p_reserved) r;
        IF refusal IS NULL THEN
            m.requests[61] := m.requests[61] + 1;
            m.tokens[61] := m.tokens[61] + p_tokens;
        END IF;
        IF m.requests_per_minute IS NOT NULL THEN
            v_left := m.requests_per_minute - (SELECT sum(n) FROM unnest(m.requests) n);
            IF v_left < remaining[1] OR remaining[1] IS NULL THEN
                limits[1] := m.requests_per_minute;
                remaining[1] := greatest(v_left, 0);
            END IF;
        END IF;
        IF m.tokens_per_minute IS NOT NULL THEN
            v_left := m.tokens_per_minute - (SELECT sum(n) FROM unnest(m.tokens) n);
            IF v_left < remaining[2] OR remaining[2] IS NULL THEN
                limits[2] := m.tokens_per_minute;
                remaining[2] := greatest(v_left, 0);
            END IF;
        END IF;
        IF refusal IS NOT NULL THEN
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
        UPDATE meters SET newest = v_of_key.newest, requests = v_of_key.requests, tokens = v_of_key.tokens
        WHERE tenant = p_tenant AND key_id = p_key_id;
    END IF;
    IF v_of_tenant.tenant IS NOT NULL THEN
        UPDATE meters SET newest = v_of_tenant.newest, requests = v_of_tenant.requests, tokens = v_of_tenant.tokens
        WHERE tenant = p_tenant AND key_id IS NULL;
    END IF;
END
$$;

-- One meter's share of what was booked.
CREATE FUNCTION book_on(m meters, p_booked ledger[]) RETURNS meters LANGUAGE plpgsql AS $$
DECLARE
    l ledger;
    v_slot int;
    v_cost numeric := 0;
    v_month date := date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC');
BEGIN
    FOREACH l IN ARRAY p_booked LOOP
        CONTINUE WHEN l.tenant <> m.tenant OR (m.key_id IS NOT NULL AND l.key_id IS DISTINCT FROM m.key_id);
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
    m.spent := m.spent + v_cost;
    m.spent_in_month := CASE WHEN m.month = v_month THEN m.spent_in_month ELSE 0 END + v_cost;
    m.month := v_month;
    RETURN m;
END
$$;

CREATE OR REPLACE FUNCTION book(p_ids uuid[], p_statuses text[], p_bills text[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    l ledger;
    b ledger;
    m meters;
    v_booked ledger[] := '{}';
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
        SELECT k.* FROM (SELECT DISTINCT tenant, key_id FROM unnest(v_booked) WHERE key_id IS NOT NULL) n
        JOIN meters k ON k.tenant = n.tenant AND k.key_id = n.key_id
        ORDER BY k.key_id FOR UPDATE OF k
    LOOP
        m := book_on(m, v_booked);
        UPDATE meters SET tokens = m.tokens, spent = m.spent, month = m.month, spent_in_month = m.spent_in_month
        WHERE tenant = m.tenant AND key_id = m.key_id;
    END LOOP;
    FOR m IN
        SELECT k.* FROM (SELECT DISTINCT tenant FROM unnest(v_booked)) n
        JOIN meters k ON k.tenant = n.tenant AND k.key_id IS NULL
        ORDER BY k.tenant FOR UPDATE OF k
    LOOP
        m := book_on(m, v_booked);
        UPDATE meters SET tokens = m.tokens, spent = m.spent, month = m.month, spent_in_month = m.spent_in_month
        WHERE tenant = m.tenant AND key_id IS NULL;
    END LOOP;
END
$$;

-- What did not end well is rare, and looked for: without this, a list of it reads all that did.
CREATE INDEX completions_ended_badly ON completions (tenant, status, id)
    WHERE status IN ('failed', 'cancelled', 'interrupted');
