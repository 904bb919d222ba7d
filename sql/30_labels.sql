/* ---------------------------------------------------------------- labels */

-- An ordered index of what is rare or was asked for: one table for each leaf of the
-- tasks, emptied with it.  A label is a letter and a value:
--	t:<tag>, n:<tenant>, p:<parent>, m:<member>=<value>	from the submit on
--	f, x, f:<lane>, x:<lane>	failed or cancelled
--	d	ran for a tenth of a second or more; rank is -microseconds
-- Whoever reads one looks at the task too, so one that is out of date does no harm.
DO $$
DECLARE
	name text;
BEGIN
	FOR i IN 0..16 LOOP
		name := CASE WHEN i = 16 THEN 'label_keep' ELSE 'label_' || pg_catalog.lpad(i::text, 2, '0') END;
		EXECUTE pg_catalog.format('CREATE TABLE taskq_internal.%I (label text COLLATE "C" NOT NULL, rank int8 NOT NULL, id uuid NOT NULL)
			USING heap WITH (autovacuum_freeze_min_age = 0)', name);
		EXECUTE pg_catalog.format('CREATE INDEX %I ON taskq_internal.%I (label, rank, id)', name || '_idx', name);
		EXECUTE pg_catalog.format('COMMENT ON TABLE taskq_internal.%I IS %L', name, 'labels of the tasks in a leaf, by which they are listed');
		PERFORM pg_catalog.pg_extension_config_dump(('taskq_internal.' || name)::regclass, '');
	END LOOP;
END
$$;

-- What is deleted from the kept ones takes all its labels along.
CREATE INDEX label_keep_id_idx ON taskq_internal.label_keep (id);
