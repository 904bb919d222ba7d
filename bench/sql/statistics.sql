-- 70 days of statistics, as the dispatcher writes them, of all lanes, 16 workers and 100 tags.
INSERT INTO taskq_internal.rollup
SELECT s.span, d.at, row_number() OVER (), g.type, g.outcome, g."of", '', g.name, 5000, 5000, 50000000, 500000000, 1000000,
	h.counts, h.counts, '{0,1000,1,1000,7,50000000}'
FROM (VALUES ('h'::"char", 'hour', interval '1 hour', interval '15 days'), ('d', 'day', interval '1 day', interval '70 days')) s(span, unit, step, keep)
CROSS JOIN LATERAL generate_series(date_trunc(s.unit, now() - s.keep, 'UTC'), now() - s.step, s.step) d(at)
CROSS JOIN (
	SELECT 'l'::"char", o::"char", n.id, '' FROM taskq_internal.lane n, unnest('{c,f,t}'::text[]) o
	UNION ALL SELECT 'w', o::"char", 1, 'worker-' || w FROM generate_series(1, 16) w, unnest('{c,f,t}'::text[]) o
	UNION ALL SELECT 't', 'c', 1, 'tag-' || w FROM generate_series(1, 100) w
) g(type, outcome, "of", name)
CROSS JOIN (SELECT array_agg(v ORDER BY b, v) AS counts FROM generate_series(20, 80, 2) b, unnest(ARRAY[b, 160]::int8[]) v) h;
SELECT taskq.task_recount();
