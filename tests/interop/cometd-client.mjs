// The reference CometD client against a Salesforce-like server. Reports what it sees as one JSON object a line.
// Argument: {"url", "token", "channel", "replay"} as JSON. Ends when its standard input is closed.
import { CometD } from "cometd";
import { adapt } from "cometd-nodejs-client";

// Standard output is for reports alone.
console.log = console.info = console.debug = console.error;
adapt();

const { url, token, channel, replay } = JSON.parse(process.argv[2]);
const say = (what, message) => process.stdout.write(JSON.stringify({ what, message }) + "\n");

let position = replay;
const client = new CometD();
client.configure({
  url,
  requestHeaders: { Authorization: `Bearer ${token}` },
  logLevel: "error",
  backoffIncrement: 50,
});
client.unregisterTransport("websocket");
client.registerExtension("replay", {
  outgoing(message) {
    if (message.channel === "/meta/subscribe") {
      message.ext = { replay: { [channel]: position, "/data/OtherChangeEvent": 1 } };
    }
    return message;
  },
});
client.addListener("/meta/handshake", (message) => {
  say("handshake", message);
  if (message.successful) {
    client.subscribe(
      channel,
      (event) => {
        position = event.data.event.replayId;
        say("event", event);
      },
      (reply) => say("subscribe", reply),
    );
  }
});
client.addListener("/meta/connect", (message) => say("connect", message));
client.handshake();

process.stdin.on("end", () => client.disconnect(() => process.exit(0)));
process.stdin.resume();
