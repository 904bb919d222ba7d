// graphile-worker, tuned as its own page on performance has it.
//
//   graphile.mjs migrate
//   graphile.mjs work            "ready", then works from a line on standard input until SIGTERM
//   graphile.mjs latency N MS    N jobs, MS apart: the milliseconds of each, from add_job's return to its completion
//   graphile.mjs migrate|work|latency … defaults    with its defaults instead
import { createInterface } from "node:readline";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { Logger, run, runMigrations } from "graphile-worker";

const [command, ...args] = process.argv.slice(2);
const tuned = {
	concurrentJobs: 24,
	localQueue: { size: 500 },
	completeJobBatchDelay: 0,
	failJobBatchDelay: 0,
};
const settings = args.includes("defaults") ? {} : tuned;
const pgPool = new pg.Pool({ max: 25 });
const logger = new Logger(() => () => {});
const preset = { worker: settings };
const taskList = {
	noop() {},
	async write_row(_payload, { query }) {
		await query("INSERT INTO written DEFAULT VALUES");
	},
};
const options = { preset, pgPool, logger, noHandleSignals: true, taskList };

async function work() {
	const input = createInterface({ input: process.stdin });
	await pgPool.query("SELECT 1");
	console.log("ready");
	await once(input, "line");
	const runner = await run(options);
	process.once("SIGTERM", () => runner.stop());
	await runner.promise;
}

async function latency(n, ms) {
	const runner = await run(options);
	const done = new Map();
	runner.events.on("job:complete", ({ job }) => {
		const now = performance.now();
		const waiter = done.get(job.id);
		if (waiter) waiter(now);
		else done.set(job.id, now);
	});
	for (let i = -5; i < n; i++) {
		const job = await runner.addJob("noop", {});
		const start = performance.now();
		const end = done.get(job.id) ?? (await new Promise((resolve) => done.set(job.id, resolve)));
		if (i >= 0) console.log(Math.max(end - start, 0).toFixed(2));
		await sleep(ms);
	}
	await runner.stop();
}

if (command === "migrate") await runMigrations(options);
else if (command === "work") await work();
else await latency(+args[0], +args[1]);
await pgPool.end();
process.exit(0);
