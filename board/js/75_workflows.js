/* Templates, and the workflows that were submitted lately: those of the newest tasks. */

const LOOKED_AT = 500;
const FLOWS = 25;

/* Ids of workflows, the newest first, and whether there may be more further back. */
async function workflowsOf(pages, signal) {
	const found = new Set();
	let after = null;
	for (let n = 0; n < pages && found.size < FLOWS * pages; n++) {
		const tasks = await api.get('rpc/task_list', { n: LOOKED_AT, after, select: 'id,workflow' }, signal);
		tasks.forEach((task) => task.workflow && found.add(task.workflow));
		if (tasks.length < LOOKED_AT)
			return { ids: [...found], more: false };
		after = tasks[tasks.length - 1].id;
	}
	return { ids: [...found].slice(0, FLOWS * pages), more: true };
}

function workflowRow(flow) {
	return h('tr', {}, h('td', {}, state(flow.state)), h('th', { scope: 'row', class: 'entry' }, h('a', { href: '#/workflow/' + flow.id }, flow.name)),
		h('td', { class: 'nowrap rare' }, bar(flow.progress, 'Progress of ' + flow.name), ' ', Math.round(flow.progress), ' %'), h('td', { class: 'number' }, number(flow.steps)),
		h('td', { class: 'number' }, flow.failed > 0 && h('span', { class: 'bad' }, number(flow.failed))), h('td', {}, time(flow.created_at)), h('td', {}, time(flow.finished_at)));
}

function forWorkflowRow(id, flow) {
	return { id, name: flow.name || flow.template || id.slice(0, 8) + '\u2026', state: flow.state, progress: flow.progress, steps: flow.steps_total, created_at: flow.created_at, finished_at: flow.finished_at,
		failed: flow.steps.filter((step) => step.state === 'failed').length };
}

function templateDialog(scope, template) {
	const title = h('input', { type: 'text', placeholder: template.name });
	const payload = h('textarea', { rows: 8, class: 'mono', value: '{}', spellcheck: 'false' });
	const once = submitter(scope.signal);
	ask('Submit a workflow of ' + template.name, 'Submit it', false, [h('label', { class: 'field' }, 'Title', title), h('label', { class: 'field' }, 'Payload (JSON)', payload)], async () => {
		const id = await once('template_submit', { name: template.name, payload: jsonOf(payload.value), title: title.value.trim() || null });
		location.hash = '#/workflow/' + id;
	});
}

function templateRow(template, scope) {
	const steps = template.steps.map((step, n) => step.title || step.name || step.kind || String(n + 1));
	return h('tr', {}, h('th', { scope: 'row', class: 'entry' }, template.name, template.description && h('div', { class: 'soft' }, template.description)), h('td', { class: 'number' }, number(template.step_count)),
		h('td', { class: 'wrap rare' }, clip(steps.join(', '), 160)), h('td', {}, template.owner, template.tenant && h('div', { class: 'soft' }, template.tenant)),
		may('template_submit') && h('td', {}, h('button', { type: 'button', click: () => templateDialog(scope, template) }, 'Submit \u2026')));
}

page('workflows', 'Workflows', (scope) => {
	const flows = h('tbody', {});
	const templates = h('tbody', {});
	let pages = 1;
	const more = h('button', { type: 'button', hidden: true, click: scope.action(async () => { pages++; await look(); }) }, 'Look further back');
	/* shown when both are known: what is read does not move */
	const known = new Set();
	const all = h('div', { class: 'stack', hidden: true }, card('Recent workflows', filled('Recent workflows', ['State', 'Workflow', ['Progress', 'rare'], ['Steps', 'number'], ['Failed', 'number'], 'Submitted', 'Ended'], flows, nothingYet('workflows', 'None of the newest tasks is of a workflow. A template is submitted:')), h('p', {}, more)),
		card('Templates', filled('Templates', ['Template', ['Steps', 'number'], ['What they are', 'rare'], 'Owner', ...(may('template_submit') ? [''] : [])], templates, nothingYet('templates', 'There are no templates. One is the steps of a workflow, and what waits for what:'))));
	show(scope.main, all);

	function knows(what) {
		known.add(what);
		all.hidden = known.size < 2;
	}

	async function look() {
		const { ids, more: further } = await workflowsOf(pages, scope.signal);
		const got = await Promise.all(ids.map((id) => orNothing(api.get('rpc/workflow_status', { id }, scope.signal), null)));
		showRows(flows, ids.map((id, n) => got[n] && forWorkflowRow(id, got[n])).filter(Boolean), (flow) => flow.id, workflowRow);
		more.hidden = !further;
		knows('flows');
	}

	scope.live(5000, look);
	scope.repeat(30000, async () => {
		showRows(templates, !may('template') ? [] : await orNothing(api.get('template', { order: 'name', limit: 1000 }, scope.signal), []), (one) => one.name, (one) => templateRow(one, scope));
		knows('templates');
	});
});
