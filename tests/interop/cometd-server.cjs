/*
 * A change-event bus on cometd-nodejs-server, the reference server of the CometD project's author: what Salesforce adds to it is a token
 * endpoint, a demand for the bearer token, and the replay extension. Written from the protocol, not from the client under test.
 *
 * Usage: node cometd-server.cjs ['{"timeout": 2000, "port": 0}']
 * Prints one line of JSON when it listens, {"url": "http://localhost:…"}, and ends when its standard input is closed.
 *
 * Control (POST unless noted; JSON):
 *   /control/publish     {"channel": "/data/…", "payloads": [{…}]}   wraps each as a change event; answers {"replayIds": […]}
 *   /control/ledger      GET: {"<channel>": [data, …]}, everything ever published
 *   /control/sessions    GET: {"opened": n}
 *   /control/disconnect  ends every session with /meta/disconnect
 *   /control/forget      forgets every session: the next request of a client is unknown
 *   /control/cut         resets every connection of a client
 *   /control/revoke      forgets every access token
 *   /control/expire      {"channel": "/data/…", "keep": n}           keeps the last n events: older positions become invalid
 */
'use strict';

const crypto = require('crypto');
const http = require('http');
const cometd = require('cometd-nodejs-server');

const options = Object.assign({timeout: 2000, maxInterval: 10000, port: 0}, JSON.parse(process.argv[2] || '{}'));
const ORG = '00Dd000000XXXXX';
const USER = '005d000000XXXXX';

const ledger = new Map();
const retained = new Map();
const tokens = new Set();
const sessions = new Set();
const sockets = new Set();
let opened = 0;
let lastReplayId = 1000;
let url = '';

const bus = cometd.createCometDServer({
    logLevel: 'warn',
    timeout: options.timeout,
    maxInterval: options.maxInterval,
    browserCookiePath: '/',
});

function stored(map, channel) {
    if (!map.has(channel)) {
        map.set(channel, []);
    }
    return map.get(channel);
}

// ---------------------------------------------------------------- replay

function replayOption(message) {
    const replay = (message.ext || {}).replay || {};
    const option = replay[message.subscription];
    return option === undefined ? -1 : option;
}

function isValid(channel, option) {
    return option === -1 || option === -2 || stored(retained, channel).some(data => data.event.replayId === option);
}

bus.policy = {
    canSubscribe: (session, message, channel, callback) => {
        const option = replayOption(message);
        const valid = isValid(channel.name, option);
        if (!valid) {
            Object.defineProperty(message.reply, '_refusal', {
                value: `400::The replayId {${option}} you provided was invalid.  Please provide a valid ID, ` +
                    '-2 to replay all events, or -1 to replay only new events.',
            });
        }
        callback(undefined, valid);
    },
};

bus.addExtension({
    outgoing: (server, sender, session, message, callback) => {
        if (message._refusal) {
            message.error = message._refusal;
        }
        callback(undefined, true);
    },
});

bus.addListener('sessionAdded', session => {
    sessions.add(session);
    session.addListener('removed', () => sessions.delete(session));
    ++opened;
    // Servers differ in whether events may come with any answer or with that of /meta/connect only; both are legal.
    session._metaConnectDeliveryOnly = opened % 2 === 0;
});

bus.addListener('subscribed', (channel, session, message) => {
    const option = replayOption(message);
    if (option === -1) {
        return;
    }
    const events = stored(retained, channel.name);
    const from = option === -2 ? 0 : events.findIndex(data => data.event.replayId === option) + 1;
    events.slice(from).forEach(data => session.deliver(null, channel.name, data));
});

function publish(name, payloads) {
    const replayIds = [];
    const channel = bus.getServerChannel(name) || bus.createServerChannel(name);
    for (const payload of payloads) {
        lastReplayId += 1 + lastReplayId % 3;
        const data = {schema: 'schema-of-interop-AAAAAA', payload: payload, event: {replayId: lastReplayId}};
        stored(ledger, name).push(data);
        stored(retained, name).push(data);
        replayIds.push(lastReplayId);
        channel.publish(null, data);
    }
    return {replayIds: replayIds};
}

// ---------------------------------------------------------------- HTTP

function refuse(messages) {
    return messages.map(message => {
        const reply = {channel: message.channel, id: message.id, successful: false, advice: {reconnect: 'none'}};
        if (message.channel === '/meta/handshake') {
            reply.error = '403::Handshake denied';
            reply.ext = {sfdc: {failureReason: '401::Authentication invalid'}};
        } else {
            reply.error = '401::Authentication invalid';
            reply.advice.interval = 0;
        }
        return reply;
    });
}

const control = {
    '/control/publish': body => publish(body.channel, body.payloads),
    '/control/ledger': () => Object.fromEntries(ledger),
    '/control/sessions': () => ({opened: opened}),
    '/control/disconnect': () => ({ended: [...sessions].filter(session => session.disconnect()).length}),
    '/control/forget': () => ({
        forgotten: [...sessions].filter(session => {
            const scheduler = session._scheduler;
            bus._removeServerSession(session, true);
            if (scheduler) {
                scheduler.cancel();
            }
            return true;
        }).length,
    }),
    '/control/cut': () => ({cut: [...sockets].filter(socket => socket._polls && socket.resetAndDestroy()).length}),
    '/control/revoke': () => {
        tokens.clear();
        return {};
    },
    '/control/expire': body => {
        retained.set(body.channel, stored(retained, body.channel).slice(-body.keep));
        return {};
    },
};

function json(response, status, value) {
    response.statusCode = status;
    response.setHeader('Content-Type', 'application/json');
    response.end(JSON.stringify(value));
}

function route(request, response, content) {
    const path = request.url.split('?')[0];
    const bearer = /^Bearer (.+)$/.exec(request.headers.authorization || '');
    const authorized = bearer !== null && tokens.has(bearer[1]);
    if (path.startsWith('/cometd/')) {
        request.socket._polls = true;
        const messages = JSON.parse(content);
        if (!authorized) {
            json(response, 200, refuse(messages));
            return;
        }
        request.body = messages;
        bus.handle(request, response);
    } else if (path === '/services/oauth2/token') {
        const token = ORG + '!' + crypto.randomBytes(24).toString('base64url');
        tokens.add(token);
        json(response, 200, {
            access_token: token,
            instance_url: url,
            id: `${url}/id/${ORG}/${USER}`,
            token_type: 'Bearer',
            issued_at: String(Date.now()),
        });
    } else if (path === '/services/oauth2/userinfo') {
        json(response, authorized ? 200 : 403, authorized ? {organization_id: ORG, user_id: USER} : 'Bad_OAuth_Token');
    } else if (control[path]) {
        json(response, 200, control[path](content ? JSON.parse(content) : {}));
    } else {
        json(response, 404, [{errorCode: 'NOT_FOUND', message: 'The requested resource does not exist'}]);
    }
}

const server = http.createServer((request, response) => {
    let content = '';
    request.setEncoding('utf8');
    request.on('data', chunk => {
        content += chunk;
    });
    request.on('end', () => route(request, response, content));
});

server.on('connection', socket => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
});

server.listen(options.port, 'localhost', () => {
    url = `http://localhost:${server.address().port}`;
    process.stdout.write(JSON.stringify({url: url}) + '\n');
});

process.stdin.on('end', () => process.exit(0));
process.stdin.resume();
