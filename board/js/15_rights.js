/*
 * What the session may, to show no buttons and pages that are refused.  The server decides: what
 * is not known, as of a server without rights(), is shown and tried.
 */

const RIGHTS = new Map();		/* by token; null: not known, and asked again */
const PATIENT = 3000;			/* so long nothing is shown for want of it, ms */

function listOf(value) {
	return Array.isArray(value) ? value : [];
}

/* From an older server only whether it shows alerts is learnt. */
async function askRights() {
	try {
		const told = Object(await api.get('rpc/rights'));
		return { ...told, known: Array.isArray(told.functions), roles: listOf(told.roles), names: [...listOf(told.functions), ...listOf(told.views)] };
	} catch (error) {
		if (!(error instanceof ApiError) || ![403, 404].includes(error.status))
			return null;
	}
	try {
		await api.get('alert', { select: 'name', limit: 0 });
		return {};
	} catch (error) {
		return error instanceof ApiError && [403, 404].includes(error.status) ? { without: 'alert' } : null;
	}
}

/* Resolves when they are known, or will not be soon. */
async function learnRights() {
	const token = api.token;
	const asked = askRights().then((told) => token === api.token && RIGHTS.set(token, told));
	await Promise.race([asked, new Promise((resolve) => setTimeout(resolve, PATIENT))]);
	if (token === api.token && !RIGHTS.has(token))
		RIGHTS.set(token, null);
}

function rights() {
	return RIGHTS.get(api.token) || {};
}

/* May it use this function or view? */
function may(name) {
	return rights().known ? rights().names.includes(name) : rights().without !== name;
}

/* ... what is its owner's and operators'? */
function steers(item) {
	return !rights().known || rights().operator === true || rights().roles.includes(item.owner);
}

function maySubmit(kind) {
	return may('task_submit') && (!rights().known || !kind.run_as || [kind.owner, kind.run_as, ...listOf(kind.submitters)].some((role) => rights().roles.includes(role)));
}

/* Does it see the tasks of all tenants?  Where that is not known, by the name of its role. */
function seesTenants() {
	return rights().known ? rights().operator === true || rights().monitor === true : /operator|admin/.test(api.claims().role || '') && !api.claims().tenant;
}
