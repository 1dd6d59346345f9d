// A bare npm cometd client, the reference implementation: receives, counts, keeps nothing.
// Argument: {"url", "channels", "total"} as JSON; prints one line of JSON.
import { readFileSync } from "node:fs";
import { CometD } from "cometd";
import { adapt } from "cometd-nodejs-client";

console.log = console.info = console.debug = console.error;
adapt();

const { url, channels, total } = JSON.parse(process.argv[2]);
const client = new CometD();
client.configure({ url: `${url}/cometd/66.0`, requestHeaders: { Authorization: "Bearer benchmark" }, logLevel: "error" });
client.unregisterTransport("websocket");
// Not maxRSS, which begins with what the starting process had.
const peak = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
let count = 0;
let cpu;
const receive = () => {
  count += 1;
  if (count === total) {
    const used = process.cpuUsage(cpu);
    const figures = {
      ended_ns: Number(process.hrtime.bigint()),
      cpu_s: (used.user + used.system) / 1e6,
      rss_peak: peak(),
    };
    process.stdout.write(JSON.stringify(figures) + "\n", () => process.exit(0));
  }
};
client.addListener("/meta/handshake", () => {
  cpu = process.cpuUsage();
  for (const channel of channels) client.subscribe(channel, receive);
});
client.handshake();
