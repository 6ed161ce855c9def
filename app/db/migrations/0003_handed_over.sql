-- Completions that are handed from the instance that admitted them to one that has the time to produce them.
--
-- Until it is taken over, such a completion is owned by an instance of its own id, of which there is no process. Its lease
-- is how long that may take: with it everything ends as with a lost instance.

-- What the upstream is to be asked, and how: the request as it was worked out when it was admitted.
CREATE TABLE handed_over (
    completion_id uuid PRIMARY KEY REFERENCES completions (id) ON DELETE CASCADE,
    request       bytea NOT NULL
);


-- Make `p_instance` the owner of a completion that was handed over. `outcome` is one of
--   taken          with its `request`
--   gone           somebody has taken it before, or it has ended
--   instance_dead  this process was declared dead: it needs a new id
CREATE FUNCTION take_over(
    p_id uuid, p_instance uuid, p_home text, p_lease interval,
    OUT outcome text, OUT request bytea, OUT cancel_requested boolean
) LANGUAGE plpgsql AS $$
BEGIN
    IF NOT hold_instance(p_instance, p_home, p_lease) THEN
        outcome := 'instance_dead';
        RETURN;
    END IF;
    outcome := 'gone';
    -- Whoever declares it dead waits for this, and then finds nothing left to end.
    PERFORM 1 FROM instances WHERE id = p_id AND dead_at IS NULL FOR SHARE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE completions c SET instance_id = p_instance
    WHERE c.id = p_id AND c.instance_id = p_id AND c.status = 'streaming'
    RETURNING c.cancel_requested_at IS NOT NULL INTO cancel_requested;
    IF FOUND THEN
        DELETE FROM handed_over h WHERE h.completion_id = p_id RETURNING h.request INTO request;
        outcome := 'taken';
    END IF;
END
$$;
