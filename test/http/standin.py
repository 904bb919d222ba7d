#!/usr/bin/python3
"""A stand-in for PostgREST, for tests where there is none.  Not for production.

It speaks the part of PostgREST that taskq and the contracts of examples/rest use, with the
same transactions: one set_config of search_path, role and request.*, one statement, READ ONLY
for GET and for functions that are not VOLATILE.  What it does not know it answers with 501.

    standin.py postgrest.conf       the same file that PostgREST takes

Known are: db-uri, db-schemas, db-extra-search-path, db-anon-role, db-pool, db-max-rows,
jwt-secret, server-host, server-port, server-unix-socket.
"""
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import queue
import re
import select
import socket
import socketserver
import sys
import threading
import time
import traceback
import urllib.parse

import psycopg2
import psycopg2.extensions

OPERATORS = {'eq': '=', 'gte': '>=', 'gt': '>', 'lte': '<=', 'lt': '<', 'neq': '<>', 'like': 'LIKE',
             'ilike': 'ILIKE', 'match': '~', 'imatch': '~*', 'cs': '@>', 'cd': '<@', 'ov': '&&',
             'isdistinct': 'IS DISTINCT FROM'}
FILTER = re.compile(r'(not\.)?(%s|in|is)(\((?:any|all)\))?\.(.*)\Z' % '|'.join(OPERATORS), re.S)
RESERVED = ('select', 'order', 'limit', 'offset', 'columns', 'on_conflict', 'and', 'or', 'not.and', 'not.or')

FUNCTIONS = """
SELECT n.nspname, p.proname, p.proargnames, p.proargmodes::text[], coalesce(p.proallargtypes, p.proargtypes::oid[]) AS types,
       array(SELECT format_type(x, NULL) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(x, i) ORDER BY i) AS names,
       p.pronargs, p.pronargdefaults, p.provolatile::text, p.proretset, p.provariadic <> 0 AS variadic,
       t.typtype::text, t.typname, format_type(t.oid, NULL) AS returns, t.typrelid::int,
       p.proargtypes::oid[] AS intypes, p.prorows = 1 AS one
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_type t ON t.oid = p.prorettype
WHERE n.nspname = ANY (%s) AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
"""
RELATIONS = """
SELECT n.nspname, c.relname, c.oid::int, c.reltype::int, array_agg(a.attname::text ORDER BY a.attnum),
       array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = ANY (%s) AND c.relkind IN ('r', 'v', 'm', 'f', 'p') AND NOT c.relispartition
      AND a.attnum > 0 AND NOT a.attisdropped
GROUP BY 1, 2, 3, 4
"""


class Refusal(Exception):
    def __init__(self, status, code, message, details=None, hint=None, headers=None):
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {'code': code, 'details': details, 'hint': hint, 'message': message}


def literal(value):
    quoted = psycopg2.extensions.QuotedString(value)
    quoted.encoding = 'utf8'
    return quoted.getquoted().decode()


def identifier(name):
    return '"' + name.replace('"', '""') + '"'


def read_conf(path):
    conf = {'db-pool': '10', 'db-schemas': 'public', 'db-extra-search-path': 'public', 'server-port': '3000',
            'server-host': '127.0.0.1', 'db-anon-role': None, 'jwt-secret': None, 'db-max-rows': None,
            'server-unix-socket': None}
    for line in open(path):
        said = re.match(r'\s*([a-z-]+)\s*=\s*(?:"(.*)"|(\S+))\s*(#.*)?$', line)
        if said:
            conf[said[1]] = said[2] if said[2] is not None else said[3]
    if conf['jwt-secret'] and conf['jwt-secret'].startswith('@'):
        conf['jwt-secret'] = open(conf['jwt-secret'][1:]).read().strip()
    conf['schemas'] = [s.strip() for s in conf['db-schemas'].split(',')]
    return conf


class Function:
    def __init__(self, row):
        (self.schema, self.name, names, modes, types, intypes, count, defaults, self.volatile, self.set,
         self.variadic, typtype, typname, self.returns, _, self.inoids, self.one) = row
        modes = modes or ['i'] * len(types)
        names = names or [''] * len(types)
        inputs = [n for n, m in zip(names, modes) if m in 'ibv']
        self.types = dict(zip(inputs, intypes))
        self.arguments = inputs
        self.required = set(inputs[:count - defaults])
        self.out = [n for n, m in zip(names, modes) if m in 'obt']
        self.unnamed = intypes[0] if count == 1 and not inputs[0] else None
        self.void = self.returns == 'void'
        self.composite = typtype == 'c' or (self.returns == 'record')
        self.media = typname if '/' in typname else None

    def takes(self, names):
        return '' not in self.arguments and self.required <= names <= set(self.arguments)


class Database:
    """The pool, and what is known of the exposed schemas."""

    def __init__(self, conf):
        self.conf = conf
        self.pool = queue.LifoQueue()
        for _ in range(int(conf['db-pool'])):
            self.pool.put(None)
        self.ready = threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()
        if not self.ready.wait(30):
            sys.exit('no database')

    def connect(self):
        conn = psycopg2.connect(self.conf['db-uri'], application_name='stand-in')
        conn.autocommit = True
        conn.set_client_encoding('UTF8')
        return conn

    def load(self, conn):
        cur = conn.cursor()
        cur.execute(FUNCTIONS, (self.conf['schemas'],))
        self.functions = {}
        for row in cur.fetchall():
            function = Function(row)
            self.functions.setdefault((function.schema, function.name), []).append(function)
        cur.execute(RELATIONS, (self.conf['schemas'],))
        self.relations, self.types = {}, {}
        for schema, name, _, rowtype, columns, types in cur.fetchall():
            self.relations[schema, name] = dict(zip(columns, types))
            self.types[schema, name] = rowtype
        cur.execute('SELECT name FROM pg_timezone_names')
        self.zones = {name for name, in cur.fetchall()}

    def listen(self):
        while True:
            try:
                conn = self.connect()
                conn.cursor().execute('LISTEN pgrst')
                self.load(conn)
                self.ready.set()
                while True:
                    select.select([conn], [], [])
                    conn.poll()
                    if conn.notifies:
                        conn.notifies.clear()
                        self.load(conn)
            except psycopg2.Error as error:
                print('listener:', error, file=sys.stderr)
                time.sleep(0.2)

    def transaction(self, read_only, settings, statement):
        """One transaction; returns the rows."""
        try:
            conn = self.pool.get(timeout=10)
        except queue.Empty:
            raise Refusal(504, 'PGRST003', 'Timed out acquiring connection from connection pool.')
        try:
            if conn is None or conn.closed:
                conn = self.connect()
            cur = conn.cursor()
            cur.execute('BEGIN ISOLATION LEVEL READ COMMITTED ' + ('READ ONLY' if read_only else 'READ WRITE'))
            try:
                cur.execute('SELECT ' + ', '.join('set_config(%s, %s, true)' % (literal(k), literal(v))
                                                  for k, v in settings.items()))
                cur.execute(statement)
                rows = cur.fetchall()
                cur.execute('COMMIT')
                return rows
            except psycopg2.Error:
                if not conn.closed:
                    cur.execute('ROLLBACK')
                raise
        except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
            if conn is None or conn.closed or error.pgcode is None:
                conn = None
                raise Refusal(503, 'PGRST001', 'Database client error. Retrying the connection.', str(error))
            raise
        finally:
            self.pool.put(conn)


def status_of(sqlstate, message, anonymous):
    if re.match(r'PT\d\d\d', sqlstate):
        return int(sqlstate[2:])
    if sqlstate in ('42883', '42P01'):
        return 404
    if sqlstate == '42501':
        return 401 if anonymous else 403
    if sqlstate == '22023' and message.startswith('role '):
        return 401
    exact = {'23503': 409, '23505': 409, '25006': 405, '21000': 400, 'P0001': 400, '42P17': 500, '57P01': 503}
    classes = {'08': 503, '09': 500, '0A': 400, '0L': 403, '0P': 403, '21': 400, '22': 400, '23': 400, '25': 500,
               '28': 403, '42': 400, '53': 503, 'P0': 500}
    return exact.get(sqlstate) or classes.get(sqlstate[:2], 500)


def refusal_of(error, anonymous):
    code, diag = error.pgcode or 'XX000', error.diag
    message, details, hint = diag.message_primary or str(error), diag.message_detail, diag.message_hint
    if code == 'PGRST':
        try:
            said, how = json.loads(message), json.loads(details)
            refusal = Refusal(how['status'], said['code'], said['message'], said.get('details'), said.get('hint'),
                              how.get('headers'))
            refusal.reason = how.get('status_text')
            return refusal
        except (ValueError, KeyError, TypeError):
            return Refusal(500, 'PGRST121', 'Could not parse JSON in the "RAISE SQLSTATE \'PGRST\'" error')
    refusal = Refusal(status_of(code, message, anonymous), code, message, details, hint)
    if code.startswith('PT'):
        refusal.reason = message
    if refusal.status == 401:
        refusal.headers['WWW-Authenticate'] = 'Bearer'
    return refusal


def claims_of(header, secret):
    """The claims of a request; none without a token."""
    if not header or header.split()[:1] not in (['Bearer'], ['bearer']):
        return {}

    def wrong(message, code='PGRST301'):
        return Refusal(401, code, message, headers={
            'WWW-Authenticate': 'Bearer error="invalid_token", error_description="%s"' % message})

    def decoded(text):
        return base64.urlsafe_b64decode(text + '=' * (-len(text) % 4))
    if not header.split(None, 1)[1:]:
        raise wrong('Empty JWT is sent in Authorization header')
    try:
        head, body, signature = header.split(None, 1)[1].strip().split('.')
        algorithm = json.loads(decoded(head)).get('alg')
        good = hmac.new(secret.encode(), (head + '.' + body).encode(), hashlib.sha256).digest()
        if algorithm != 'HS256' or not hmac.compare_digest(good, decoded(signature)):
            raise wrong('No suitable key or wrong key type')
        claims = json.loads(decoded(body))
    except (ValueError, AttributeError):
        raise wrong('Expected 3 parts in JWT; got something else')
    for name in ('exp', 'nbf', 'iat'):
        if type(claims.get(name, 0)) not in (int, float):
            raise wrong("The JWT '%s' claim must be a number" % name, 'PGRST303')
    if 'exp' in claims and claims['exp'] < time.time() - 30:
        raise wrong('JWT expired', 'PGRST303')
    if 'nbf' in claims and claims['nbf'] > time.time() + 30:
        raise wrong('JWT not yet valid', 'PGRST303')
    return claims


def split_top(text, separator=','):
    """Splits at separators that are in no parentheses and no quotes."""
    parts, depth, quoted, part = [], 0, False, ''
    last = ''
    for c in text:
        if c == '"' and last != '\\':
            quoted = not quoted
        last = '' if last == '\\' else c
        depth += (c == '(') - (c == ')') if not quoted else 0
        if c == separator and depth == 0 and not quoted:
            parts.append(part)
            part = ''
        else:
            part += c
    return parts + [part] if part or parts else []


def column(source, name):
    """a, a->b->>c"""
    first, *path = re.split(r'(->>?)', name)
    sql = source + '.' + identifier(first)
    if path:
        sql = 'to_jsonb(%s)' % sql
        for arrow, key in zip(path[::2], path[1::2]):
            sql += arrow + (key if re.fullmatch(r'-?\d+', key) else literal(key))
    return sql, (path[-1] if path else first)


def condition(source, name, value):
    said = FILTER.match(value)
    if not said:
        raise Refusal(400, 'PGRST100', '"failed to parse filter (%s)" (line 1, column 1)' % value)
    negated, operator, _, operand = said.groups()
    sql = column(source, name)[0]
    if operator == 'is':
        words = {'null', 'true', 'false', 'unknown', 'not_null'}
        if operand.lower() not in words:
            raise Refusal(400, 'PGRST100', '"failed to parse filter (%s)" (line 1, column 4)' % value)
        sql += ' IS ' + operand.upper().replace('_', ' ')
    elif operator == 'in':
        items = [i[1:-1] if i.startswith('"') else i for i in split_top(operand.strip()[1:-1])]
        sql += ' = ANY (%s)' % literal('{%s}' % ','.join('"%s"' % re.sub(r'(["\\])', r'\\\1', i) for i in items))
    else:
        if operator in ('like', 'ilike'):
            operand = operand.replace('*', '%')
        sql += ' %s %s' % (OPERATORS[operator], literal(operand))
    return 'NOT (%s)' % sql if negated else sql


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    server_version = 'stand-in for PostgREST'

    # --- the answer

    def log_message(self, form, *args):
        print(form % args, file=sys.stderr, flush=True)

    def address_string(self):
        return 'client'

    def answer(self, status, body, kind='application/json; charset=utf-8', headers=(), reason=None):
        data = body.encode() if body is not None else b''
        reason = re.sub(r'[\r\n]', ' ', reason or http.client.responses.get(status, ''))
        self.send_response_only(status, reason.encode('utf-8', 'replace').decode('latin-1'))
        self.send_header('Server', self.version_string())
        named = {name.lower() for name, _ in headers}
        if body is not None and 'content-type' not in named:
            self.send_header('Content-Type', kind)
        for name, value in headers:
            self.send_header(name, value.encode().decode('latin-1'))
        if self.headers.get('Origin'):
            self.send_header('Access-Control-Allow-Origin', '*')
            self.send_header('Access-Control-Expose-Headers', 'Content-Encoding, Content-Location, Content-Range, Content-Type, '
                             'Date, Location, Server, Transfer-Encoding, Range-Unit')
        if status not in (204, 304) and 'content-length' not in named:
            self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        if self.command != 'HEAD' and status not in (204, 304):
            self.wfile.write(data)

    def refuse(self, refusal):
        self.answer(refusal.status, json.dumps(refusal.body, separators=(',', ':'), ensure_ascii=False),
                    headers=[(k, str(v)) for k, v in refusal.headers.items()], reason=getattr(refusal, 'reason', None))

    # --- the request

    def handle_request(self):
        length = int(self.headers.get('Content-Length') or 0)
        self.body = self.rfile.read(length) if length else b''
        anonymous = True
        try:
            path, _, query = self.path.partition('?')
            self.url_path = urllib.parse.unquote(path)
            self.query = urllib.parse.parse_qsl(query, keep_blank_values=True)
            self.db, self.conf = self.server.db, self.server.db.conf
            claims = claims_of(self.headers.get('Authorization'), self.conf['jwt-secret'] or '')
            anonymous = 'role' not in claims
            self.role = claims.get('role', self.conf['db-anon-role'])
            if not isinstance(self.role, str):
                self.role = json.dumps(self.role)
            self.claims = dict(claims, role=self.role)
            self.schema = self.profile()
            self.prefer = {k.strip(): v.strip() for k, _, v in
                           (p.partition('=') for h in self.headers.get_all('Prefer') or [] for p in h.split(','))}
            self.dispatch()
        except Refusal as refusal:
            self.refuse(refusal)
        except psycopg2.Error as error:
            self.refuse(refusal_of(error, anonymous))
        except BrokenPipeError:
            self.close_connection = True
        except Exception as error:
            traceback.print_exc()
            self.refuse(Refusal(501, 'STANDIN', 'the stand-in for PostgREST does not know this', repr(error)))

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = do_PUT = do_OPTIONS = handle_request

    def profile(self):
        header = 'Accept-Profile' if self.command in ('GET', 'HEAD') else 'Content-Profile'
        schema = self.headers.get(header) or self.conf['schemas'][0]
        if schema not in self.conf['schemas']:
            raise Refusal(406, 'PGRST106', 'Invalid schema: ' + schema,
                          hint='Only the following schemas are exposed: ' + ', '.join(self.conf['schemas']))
        return schema

    def dispatch(self):
        parts = self.url_path[1:].split('/')
        if self.command == 'OPTIONS':
            self.answer(200, None, headers=[('Allow', 'OPTIONS,GET,HEAD,POST,PATCH,DELETE')] + ([
                ('Access-Control-Allow-Methods', 'GET, POST, PATCH, PUT, DELETE, OPTIONS, HEAD'),
                ('Access-Control-Allow-Headers', 'Authorization, ' + self.headers.get('Access-Control-Request-Headers', '')),
                ('Access-Control-Max-Age', '86400')] if 'Access-Control-Request-Method' in self.headers else []))
        elif parts == ['']:
            self.openapi()
        elif '' in parts:
            raise Refusal(404, 'PGRST125', 'Invalid path specified in request URL')
        elif parts[0] == 'rpc' and len(parts) == 2:
            if self.command not in ('GET', 'HEAD', 'POST'):
                raise Refusal(405, 'PGRST101', 'Cannot use the %s method on RPC' % self.command)
            self.rpc(parts[1])
        elif len(parts) == 1:
            self.relation(parts[0])
        else:
            raise Refusal(404, 'PGRST125', 'Invalid path specified in request URL')

    def settings(self):
        headers = {}
        for name, value in self.headers.items():
            headers[name.lower()] = value
        cookies = dict(c.strip().partition('=')[::2] for c in headers.pop('cookie', '').split(';') if '=' in c)
        extra = [s.strip() for s in self.conf['db-extra-search-path'].split(',') if s.strip()]
        zone = self.prefer.get('timezone')
        return {'search_path': ', '.join(identifier(s) for s in [self.schema] + extra), 'role': self.role,
                **({'TimeZone': zone} if zone in self.db.zones else {}),
                'request.jwt.claims': json.dumps(self.claims, separators=(',', ':'), ensure_ascii=False),
                'request.method': self.command, 'request.path': self.url_path,
                'request.headers': json.dumps(headers, ensure_ascii=False), 'request.cookies': json.dumps(cookies)}

    def json_body(self, empty='{}'):
        kind = self.headers.get('Content-Type', 'application/json').split(';')[0].strip()
        if kind == 'application/x-www-form-urlencoded':
            return dict(urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True))
        if kind not in ('application/json', 'application/vnd.pgrst.object+json', 'application/vnd.pgrst.array+json'):
            raise Refusal(415, 'PGRST102', 'Content-Type not acceptable: ' + kind)
        try:
            body = json.loads(self.body or empty)
        except ValueError:
            raise Refusal(400, 'PGRST102', 'Empty or invalid json')
        # the rows of an insert; so it is with what a function takes
        if isinstance(body, list) and body and not all(
                isinstance(row, dict) and isinstance(body[0], dict) and row.keys() == body[0].keys() for row in body):
            raise Refusal(400, 'PGRST102', 'All object keys must match')
        return body

    def accepts(self):
        """The media types that are asked for, those of most weight first."""
        asked = []
        for part in self.headers.get('Accept', '*/*').split(','):
            kind, *parameters = [p.strip() for p in part.split(';')]
            weight = [float(p[2:]) for p in parameters if re.fullmatch(r'q=[0-9.]+', p)]
            asked.append((-(weight or [1])[0], kind))
        return [kind for _, kind in sorted(asked, key=lambda one: one[0])]

    def acceptable(self, media=None):
        """What to answer with: the function's own media type, or JSON of one of its sorts."""
        for kind in self.accepts():
            if media and media in (kind, '*/*'):
                return media
            if kind in ('application/json', 'application/*', '*/*'):
                return 'application/json'
            if kind in ('application/vnd.pgrst.object+json', 'application/vnd.pgrst.array+json'):
                return kind
            if kind == 'text/csv':
                raise Refusal(501, 'STANDIN', 'the stand-in for PostgREST does not know text/csv')
        raise Refusal(406, 'PGRST107', 'None of these media types are available: ' + ', '.join(self.accepts()))

    # --- functions

    def find(self, name, keys, media):
        known = self.db.functions.get((self.schema, name), [])
        found = [f for f in known if f.takes(keys)]
        if not found and self.command == 'POST':
            fits = {'application/json': ('json', 'jsonb'), 'text/plain': ('text',), 'text/xml': ('xml',),
                    'application/octet-stream': ('bytea',)}.get(media, ())
            found = [f for f in known if f.unnamed in fits]
        if len(found) == 1:
            return found[0]
        full = '%s.%s' % (self.schema, name)
        if found:
            raise Refusal(300, 'PGRST203', 'Could not choose the best candidate function between: '
                          + ', '.join('%s(%s)' % (full, ', '.join(f.arguments)) for f in found),
                          hint='Try renaming the parameters or the function itself in the database so function overloading can be resolved')
        said = '(%s)' % ', '.join(sorted(keys)) if keys else ' without parameters'
        tried = ' with parameters ' + ', '.join(sorted(keys)) if keys else ' without parameters'
        if media in ('text/plain', 'text/xml', 'application/octet-stream'):
            said, tried = '', ' with a single unnamed %s parameter' % {'text/plain': 'text', 'text/xml': 'xml'}.get(media, 'bytea')
        elif self.command == 'POST':
            tried += ' or with a single unnamed json/jsonb parameter'
        raise Refusal(404, 'PGRST202', 'Could not find the function %s%s in the schema cache' % (full, said),
                      'Searched for the function %s%s, but no matches were found in the schema cache.' % (full, tried))

    def rpc(self, name):
        total = None
        media = self.headers.get('Content-Type', 'application/json').split(';')[0].strip()
        if self.command == 'POST':
            filters = [(k, v) for k, v in self.query if k not in RESERVED]
            if media in ('text/plain', 'application/octet-stream', 'text/xml'):
                keys = set()
            else:
                body = self.json_body()
                keys = set(body) if isinstance(body, dict) else set()
            function = self.find(name, keys, media)
            if function.unnamed:
                call = '%s::%s' % (literal(self.body.decode()), function.unnamed)
                source = ''
            else:
                columns = ', '.join('%s %s' % (identifier(k), function.types[k]) for k in keys)
                source = 'json_to_record(%s::json) AS pgrst_body(%s), LATERAL' % (literal(json.dumps(body)), columns) if keys else ''
                call = ', '.join('%s := pgrst_body.%s' % (identifier(k), identifier(k)) for k in keys)
        else:
            arguments = {k: v for k, v in self.query if k not in RESERVED and '.' not in k and not FILTER.match(v)}
            filters = [(k, v) for k, v in self.query if k not in RESERVED and k not in arguments]
            function = self.find(name, set(arguments), media)
            source = ''
            call = ', '.join('%s := %s::%s' % (identifier(k), literal(v), function.types[k])
                             for k, v in arguments.items())
        call = '%s.%s(%s)' % (identifier(self.schema), identifier(name), call)
        if function.composite:
            statement = 'SELECT pgrst_call.* FROM %s %s AS pgrst_call' % (source, call)
        elif function.set:
            statement = 'SELECT pgrst_scalar FROM %s %s AS pgrst_scalar' % (source, call)
        else:
            statement = 'SELECT pgrst_call.pgrst_scalar FROM %s (SELECT %s AS pgrst_scalar) AS pgrst_call' % (source, call)
        if filters or any(k in ('select', 'order', 'limit', 'offset') for k, _ in self.query) or \
                (function.set and self.conf['db-max-rows']):
            if function.set and self.prefer.get('count') in ('exact', 'planned', 'estimated'):
                where = ' AND '.join([condition('pgrst_source', k, v) for k, v in filters]) or 'true'
                total = '(SELECT count(*) FROM (%s) AS pgrst_source WHERE %s)' % (statement, where)
            statement = self.selection('(%s) AS pgrst_source' % statement, 'pgrst_source', filters, None)
        self.respond_with(statement, self.command != 'POST' or function.volatile != 'v', function, total=total)

    def respond_with(self, statement, read_only, function=None, status=200, total=None):
        kind = self.acceptable(function and function.media)
        media = function and kind == function.media
        if media:
            body = "string_agg(pgrst_t.pgrst_scalar::text, '')"
        elif function and not function.composite:
            body = "coalesce(json_agg(pgrst_t.pgrst_scalar)%s, '%s')::text" % (
                ('', '[]') if function.set else ('->0', 'null'))
        elif function and not function.set:
            body = "coalesce(json_agg(pgrst_t)->0, 'null')::text"
        else:
            body = "coalesce(json_agg(pgrst_t), '[]')::text"
        single = kind == 'application/vnd.pgrst.object+json' and (not function or function.set)
        rows = self.db.transaction(read_only, self.settings(), """
            WITH pgrst_source AS (%s)
            SELECT %s, count(*), %s, nullif(current_setting('response.headers', true), ''),
                   nullif(current_setting('response.status', true), '')
            FROM (SELECT * FROM pgrst_source) AS pgrst_t""" % (statement, body, total or 'NULL::bigint'))
        text, count, total, headers, said = rows[0]
        headers = [(k, str(v)) for h in json.loads(headers or '[]') for k, v in h.items()]
        if single:
            if count != 1:
                raise Refusal(406, 'PGRST116', 'Cannot coerce the result to a single JSON object',
                              'The result contains %d rows' % count)
            text = json.dumps(json.loads(text)[0])
        offset = self.asked('offset') or 0
        shown = '%d-%d' % (offset, offset + count - 1) if count else '*'
        headers.append(('Content-Range', '%s/%s' % (shown, '*' if total is None else total)))
        if function and function.void:
            self.answer(int(said or 204), None if not said else '', headers=headers)
            return
        if total is not None and count < total and status == 200:
            status = 206 if offset <= total or not total else 416
        kind = {'*/*': 'application/octet-stream', 'text/plain': 'text/plain; charset=utf-8'}.get(kind, kind)
        self.answer(int(said or status), text if text is not None else '',
                    kind + ('; charset=utf-8' if kind.startswith('application/') and kind.endswith('json') else ''), headers)

    # --- views

    def asked(self, name):
        """limit or offset; what is no number does not count."""
        said = dict(self.query).get(name, '')
        return int(said) if re.fullmatch(r'\d{1,18}', said) else None

    def selection(self, source, alias, filters, relation):
        """SELECT … FROM source with what the query string asks for."""
        asked = dict(self.query)
        where = [condition(alias, k, v) for k, v in filters]
        for key, value in self.query:
            if key in ('or', 'and', 'not.or', 'not.and'):
                where.append(self.logic(alias, key, value))
        columns, joins = self.columns(asked.get('select', '*'), alias, relation)
        sql = 'SELECT %s FROM %s%s' % (columns, source, joins)
        if where:
            sql += ' WHERE ' + ' AND '.join(where)
        if asked.get('order'):
            sql += ' ORDER BY ' + self.order(alias, asked['order'])
        limits = [int(v) for v in (self.asked('limit'), self.conf['db-max-rows']) if v is not None]
        if limits:
            sql += ' LIMIT %d' % min(limits)
        if self.asked('offset'):
            sql += ' OFFSET %d' % self.asked('offset')
        return sql

    def logic(self, alias, key, value):
        items = []
        for item in split_top(value.strip()[1:-1]):
            nested = re.match(r'((?:not\.)?(?:and|or))(\(.*\))\Z', item, re.S)
            # here a value may be in quotes
            name, said = (item, '') if nested else item.split('.', 1)
            said = re.sub(r'\."((?:[^"\\]|\\.)*)"\Z', lambda value: '.' + re.sub(r'\\(.)', r'\1', value[1]), said)
            items.append(self.logic(alias, nested[1], nested[2]) if nested else condition(alias, name, said))
        sql = '(%s)' % (' %s ' % key.split('.')[-1].upper()).join(items)
        return 'NOT ' + sql if key.startswith('not.') else sql

    def order(self, alias, text):
        terms = []
        for term in split_top(text):
            said = re.fullmatch(r'(.+?)(\.(?:asc|desc))?(\.nulls(?:first|last))?', term)
            sql = column(alias, said[1])[0] + (said[2] or '').replace('.', ' ').upper()
            terms.append(sql + {'.nullsfirst': ' NULLS FIRST', '.nullslast': ' NULLS LAST', None: ''}[said[3]])
        return ', '.join(terms)

    def columns(self, text, alias, relation):
        """A select list; members like name(…) are computed relationships."""
        columns, joins = [], ''
        for number, item in enumerate(split_top(text) or ['*']):
            embedded = re.fullmatch(r'(?:([^:(]+):)?([^:(!]+)(?:!\w+)?\((.*)\)', item, re.S)
            if item == '*':
                columns.append(alias + '.*')
            elif embedded:
                label, name, inner = embedded.groups()
                function = self.related(name, relation)
                inside, more = self.columns(inner, 'pgrst_e%d' % number, None)
                row = 'SELECT %s FROM %s.%s(%s) AS pgrst_e%d%s' % (
                    inside, identifier(function.schema), identifier(name), alias, number, more)
                value = 'coalesce(json_agg(x), \'[]\')' if function.set and not function.one else 'json_agg(x)->0'
                joins += ' LEFT JOIN LATERAL (SELECT %s AS value FROM (%s) AS x) AS pgrst_j%d ON true' % (value, row, number)
                columns.append('pgrst_j%d.value AS %s' % (number, identifier(label or name)))
            else:
                said = re.fullmatch(r'(?:([^:]+):(?!:))?(.+?)(?:::(\w+))?', item)
                sql, name = column(alias, said[2])
                columns.append('%s AS %s' % ('(%s)::%s' % (sql, said[3]) if said[3] else sql, identifier(said[1] or name)))
        return ', '.join(columns), joins

    def related(self, name, relation):
        for function in self.db.functions.get((self.schema, name), []):
            if relation and function.composite and function.inoids == [self.db.types[relation]]:
                return function
        raise Refusal(400, 'PGRST200', "Could not find a relationship between '%s' and '%s' in the schema cache"
                      % (relation and relation[1], name))

    def relation(self, name):
        known = self.db.relations.get((self.schema, name))
        if known is None:
            raise Refusal(404, 'PGRST205', "Could not find the table '%s.%s' in the schema cache" % (self.schema, name))
        full, alias = '%s.%s' % (identifier(self.schema), identifier(name)), identifier(name)
        filters = [(k, v) for k, v in self.query if k not in RESERVED]
        if self.command in ('GET', 'HEAD'):
            total = None
            if self.prefer.get('count') in ('exact', 'planned', 'estimated'):
                where = ' AND '.join([condition(alias, k, v) for k, v in filters]) or 'true'
                total = '(SELECT count(*) FROM %s AS %s WHERE %s)' % (full, alias, where)
            self.respond_with(self.selection('%s AS %s' % (full, alias), alias, filters, (self.schema, name)), True,
                              total=total)
            return
        if self.command == 'PUT':
            raise Refusal(405, 'PGRST105', "Filters must include all and only primary key columns with 'eq' operators")
        kind = self.acceptable()
        where = ' WHERE ' + ' AND '.join(condition(alias, k, v) for k, v in filters) if filters else ''
        returning = self.prefer.get('return') == 'representation'
        if self.command == 'DELETE':
            change = 'DELETE FROM %s AS %s%s' % (full, alias, where)
        else:
            body = self.json_body(empty='')
            rows = body if isinstance(body, list) else [body]
            names = list(dict.fromkeys(k for row in rows for k in row))
            if not rows or (self.command == 'PATCH' and not names):
                self.answer(201 if self.command == 'POST' else 204, None, headers=[('Content-Range', '*/*')])
                return
            for unknown in [n for n in names if n not in known]:
                raise Refusal(400, 'PGRST204', "Could not find the '%s' column of '%s' in the schema cache" % (unknown, name))
            data = 'json_to_recordset(%s::json) AS pgrst_body(%s)' % (
                literal(json.dumps(rows)), ', '.join('%s %s' % (identifier(n), known[n]) for n in names))
            listed = ', '.join(map(identifier, names))
            if self.command == 'POST':
                change = 'INSERT INTO %s(%s) SELECT %s FROM %s' % (
                    full, listed, ', '.join('pgrst_body.' + identifier(n) for n in names), data) \
                    if names else 'INSERT INTO %s DEFAULT VALUES' % full
            else:
                change = 'UPDATE %s AS %s SET %s FROM %s%s' % (
                    full, alias, ', '.join('%s = pgrst_body.%s' % ((identifier(n),) * 2) for n in names), data, where)
        target = full if self.command == 'POST' else alias
        change += ' RETURNING ' + (self.columns(dict(self.query).get('select', '*'), target, None)[0] if returning else '1')
        rows = self.db.transaction(False, self.settings(), """
            WITH pgrst_source AS (%s)
            SELECT coalesce(json_agg(pgrst_t), '[]')::text, count(*), nullif(current_setting('response.headers', true), ''),
                   nullif(current_setting('response.status', true), '')
            FROM (SELECT * FROM pgrst_source) AS pgrst_t""" % change)
        text, count, headers, said = rows[0]
        headers = [(k, str(v)) for h in json.loads(headers or '[]') for k, v in h.items()]
        status = 201 if self.command == 'POST' else 200 if returning else 204
        headers.append(('Content-Range', '*/*'))
        if kind == 'application/vnd.pgrst.object+json' and returning:
            if count != 1:
                raise Refusal(406, 'PGRST116', 'Cannot coerce the result to a single JSON object',
                              'The result contains %d rows' % count)
            text = json.dumps(json.loads(text)[0])
        self.answer(int(said or status), text if returning else None, kind + '; charset=utf-8', headers)

    def openapi(self):
        paths = {'/': {'get': {}}}
        rights = {k for k, in self.db.transaction(True, self.settings(), """
            SELECT '/rpc/' || proname FROM pg_proc WHERE pronamespace = %s::regnamespace AND has_function_privilege(oid, 'EXECUTE')
            UNION SELECT '/' || relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind IN ('r', 'v')
                AND has_table_privilege(oid, 'SELECT')""" % ((literal(identifier(self.schema)),) * 2))}
        for schema, name in self.db.functions:
            computed = all(f.inoids and f.inoids[0] in self.db.types.values() for f in self.db.functions[schema, name])
            if schema == self.schema and '/rpc/' + name in rights and not computed:
                paths['/rpc/' + name] = {'post': {}}
        for schema, name in self.db.relations:
            if schema == self.schema and '/' + name in rights:
                paths['/' + name] = {'get': {}}
        self.answer(200, json.dumps({'swagger': '2.0', 'info': {'title': 'stand-in'}, 'paths': paths}),
                    'application/openapi+json; charset=utf-8')


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


class UnixServer(Server):
    address_family = socket.AF_UNIX

    def server_bind(self):
        if os.path.exists(self.server_address):
            os.unlink(self.server_address)
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = 'localhost', 0

    def get_request(self):
        return self.socket.accept()[0], ('client', 0)


def main():
    conf = read_conf(sys.argv[1])
    db = Database(conf)
    if conf['server-unix-socket']:
        server = UnixServer(conf['server-unix-socket'], Handler)
    else:
        server = Server((conf['server-host'].replace('!4', '127.0.0.1'), int(conf['server-port'])), Handler)
    server.db = db
    server.serve_forever()


if __name__ == '__main__':
    main()
