// A bare jsforce subscription: receives, counts, keeps nothing.
// Argument: {"url", "channels", "total"} as JSON; prints one line of JSON.
const { readFileSync } = require("node:fs");
const jsforce = require("jsforce");
const { StreamingExtension } = require("jsforce/api/streaming");

const { url, channels, total } = JSON.parse(process.argv[2]);
const connection = new jsforce.Connection({ instanceUrl: url, accessToken: "benchmark", version: "66.0" });
const client = connection.streaming.createClient([new StreamingExtension.Replay(channels[0], -2)]);
// Not maxRSS, which begins with what the starting process had.
const peak = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
let count = 0;
const cpu = process.cpuUsage();
for (const channel of channels) {
  client.subscribe(channel, () => {
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
  });
}
