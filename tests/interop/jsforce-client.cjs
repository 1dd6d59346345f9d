// jsforce's streaming client (Faye, with jsforce's own replay extension) against a Salesforce-like server.
// Reports what it sees as one JSON object a line. Argument: {"url", "token", "channel", "replay"} as JSON;
// "url" is the instance. Ends when its standard input is closed.
const jsforce = require("jsforce");
const { StreamingExtension } = require("jsforce/api/streaming");

const { url, token, channel, replay } = JSON.parse(process.argv[2]);
const say = (what, message) => process.stdout.write(JSON.stringify({ what, message }) + "\n");

const connection = new jsforce.Connection({ instanceUrl: url, accessToken: token, version: "66.0" });
const reporter = {
  incoming(message, callback) {
    const meta = /^\/meta\/(handshake|connect|subscribe)$/.exec(message.channel);
    if (meta) say(meta[1], { ...message });
    callback(message);
  },
};
const client = connection.streaming.createClient([
  reporter,
  new StreamingExtension.AuthFailure(() => say("authentication failed", {})),
  new StreamingExtension.Replay(channel, replay),
]);
client
  .subscribe(channel, (data) => say("event", { channel, data }))
  .errback((error) => say("subscription failed", { error: String(error.message ?? error) }));

process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
