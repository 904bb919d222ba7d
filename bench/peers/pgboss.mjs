// pg-boss at its best: fetch() and complete() of 1,000 at a time, two loops a process.
//
//   pgboss.mjs migrate
//   pgboss.mjs submit CLIENTS SECONDS    one send() after the other in each; prints how many a second
//   pgboss.mjs bulk N                    insert() of 1,000 at a time; prints how many a second
//   pgboss.mjs work                      "ready", then works from a line on standard input until nothing is left
//   pgboss.mjs latency N MS              N jobs, MS apart, with work() at its shortest polling interval
import { createInterface } from "node:readline";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { PgBoss } from "pg-boss";

const [command, ...args] = process.argv.slice(2);
const queue = "noop";
const portion = 1000;
const pool = new pg.Pool({ max: 10 });
const db = { executeSql: (text, values) => pool.query(text, values) };
const boss = new PgBoss({ db, supervise: false, schedule: false, migrate: command === "migrate", createSchema: command === "migrate" });
boss.on("error", (error) => {
	console.error(error);
	process.exit(1);
});

async function submit(clients, seconds) {
	const start = performance.now();
	let n = 0;
	const client = async () => {
		for (; performance.now() - start < 1000 * seconds; n++) await boss.send(queue, {});
	};
	await Promise.all(Array.from({ length: clients }, client));
	console.log(Math.round((1000 * n) / (performance.now() - start)));
}

async function bulk(n) {
	const start = performance.now();
	const jobs = Array.from({ length: portion }, () => ({ data: {} }));
	for (let i = 0; i < n; i += portion) await boss.insert(queue, jobs);
	console.log(Math.round((1000 * n) / (performance.now() - start)));
}

async function work() {
	const input = createInterface({ input: process.stdin });
	const loop = async () => {
		for (;;) {
			const jobs = await boss.fetch(queue, { batchSize: portion });
			if (jobs.length === 0) return;
			await boss.complete(queue, jobs.map((job) => job.id));
		}
	};
	await pool.query("SELECT 1");
	console.log("ready");
	await once(input, "line");
	await Promise.all([loop(), loop()]);
}

async function latency(n, ms) {
	let finished;
	await boss.work(queue, { pollingIntervalSeconds: 0.5, batchSize: 1 }, async () => finished(performance.now()));
	for (let i = 0; i < n; i++) {
		const end = new Promise((resolve) => (finished = resolve));
		await boss.send(queue, {});
		const start = performance.now();
		console.log(Math.max((await end) - start, 0).toFixed(2));
		await sleep(ms);
	}
}

await boss.start();
if (command === "migrate") await boss.createQueue(queue);
else if (command === "submit") await submit(+args[0], +args[1]);
else if (command === "bulk") await bulk(+args[0]);
else if (command === "work") await work();
else await latency(+args[0], +args[1]);
process.exit(0);
