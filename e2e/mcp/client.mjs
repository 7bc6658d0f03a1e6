// Works in a sandbox by the Model Context Protocol, with the official client.
// Usage: client.mjs stdio PROGRAM | http URL
import assert from "node:assert/strict";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [mode, where] = process.argv.slice(2);
const transport =
  mode === "stdio"
    ? new StdioClientTransport({ command: where, args: ["mcp", "start"], env: process.env, stderr: "inherit" })
    : new StreamableHTTPClientTransport(new URL(where), {
        requestInit: { headers: { Authorization: `Bearer ${process.env.DAYTONA_API_KEY}` } },
      });
const client = new Client({ name: "test", version: "1" });
await client.connect(transport);
assert.equal(client.getServerVersion().name, "Daytona MCP Server");
await client.ping();
assert.deepEqual((await client.listPrompts()).prompts, []);
assert.deepEqual((await client.listResources()).resources, []);

const { tools } = await client.listTools();
const names = tools.map((tool) => tool.name);
for (const name of ["create_sandbox", "destroy_sandbox", "file_upload", "file_download", "get_file_info", "list_files", "move_file",
  "delete_file", "create_folder", "execute_command", "preview_link", "git_clone", "run_code", "start_command", "command_logs"]) {
  assert.ok(names.includes(name), name);
}
const create = tools.find((tool) => tool.name === "create_sandbox").inputSchema.properties;
assert.equal(create.autoStopInterval.default, 15);
assert.equal(create.autoArchiveInterval.default, 10080);
assert.equal(create.autoDeleteInterval.default, -1);
assert.equal(create.target.default, "us");
assert.equal(create.cpu.maximum, 4);
const hints = Object.fromEntries(tools.map((tool) => [tool.name, tool.annotations]));
assert.equal(hints.list_files.readOnlyHint, true);
assert.equal(hints.destroy_sandbox.destructiveHint, true);

const call = (name, args = {}, options) => client.callTool({ name, arguments: args }, undefined, options);
const text = (result) => result.content[0].text;

// Progress is told to who asks for it.
let heard = 0;
const made = await call("create_sandbox", { auto_stop_interval: 5, labels: { mcp: "test" } }, { onprogress: () => heard++ });
assert.match(text(made), /^Created new sandbox /);
const id = made.structuredContent.id;
assert.ok(heard > 0, "no progress was told");
try {
  assert.equal(text(await call("create_sandbox", { id })), `Reusing existing sandbox ${id}`);

  assert.equal(text(await call("file_upload", { id, filePath: "/tmp/a/x.txt", content: "aGVsbG8=", encoding: "base64", overwrite: false })),
    "File uploaded successfully: /tmp/a/x.txt");
  const again = await call("upload_file", { id, file_path: "/tmp/a/x.txt", content: "x", encoding: "text", overwrite: false });
  assert.ok(again.isError);
  assert.match(text(again), /already exists and overwrite=false/);
  assert.equal(text(await call("file_download", { id, filePath: "/tmp/a/x.txt" })), "hello");
  assert.equal((await call("get_file_info", { id, filePath: "/tmp/a/x.txt" })).structuredContent.size, 5);
  assert.equal((await call("list_files", { id, path: "/tmp/a" })).structuredContent.files.length, 1);
  await call("create_folder", { id, folderPath: "/tmp/b" });
  await call("move_file", { id, sourcePath: "/tmp/a/x.txt", destPath: "/tmp/b/y.txt" });
  assert.equal((await call("find_in_files", { id, path: "/tmp/b", pattern: "hell" })).structuredContent.matches[0].line, 1);
  await call("replace_in_files", { id, files: ["/tmp/b/y.txt"], pattern: "hello", newValue: "bye" });
  assert.equal(text(await call("download_file", { id, file_path: "/tmp/b/y.txt" })), "bye");
  assert.match(text(await call("delete_file", { id, filePath: "/tmp/b" })), /^Deleted file: \/tmp\/b/);
  assert.ok((await call("get_file_info", { id, filePath: "/tmp/b" })).isError);

  const run = await call("execute_command", { id, command: "cd /tmp && pwd && echo oh >&2 && exit 3" });
  assert.deepEqual(JSON.parse(text(run)), { stdout: "/tmp", stderr: "oh", exitCode: 3 });
  assert.ok((await call("execute_command", { id, command: " " })).isError);

  const chart = await call("run_code", { id, code: "import matplotlib.pyplot as plt\nplt.plot([1,2])\nplt.title('T')\nplt.show()\nprint('done')" });
  assert.match(text(chart), /done/);
  const picture = chart.content.find((part) => part.type === "image");
  assert.equal(picture.mimeType, "image/png");
  assert.equal(Buffer.from(picture.data, "base64").subarray(1, 4).toString(), "PNG");
  assert.equal(chart.structuredContent.charts[0].title, "T");

  const missing = await call("preview_link", { id, port: 3000, checkServer: true });
  assert.ok(missing.isError);
  assert.match(text(missing), /no server answers on port 3000/);
  const started = (await call("start_command", { id, command: "python3 -u -m http.server 3000" })).structuredContent;
  let link;
  for (let i = 0; i < 100; i++) {
    link = await call("preview_link", { id, port: 3000, checkServer: true });
    if (!link.isError) break;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.match(text(link), /^Preview link generated: http/);
  const logs = await call("command_logs", { id, session: started.session, commandId: started.commandId });
  assert.equal(logs.structuredContent.running, true);
  assert.ok((await call("list_sessions", { id })).structuredContent.sessions.some((s) => s.sessionId === started.session));
  await call("stop_session", { id, session: started.session });

  await call("execute_command", { id, command: "git init -q /tmp/repo && cd /tmp/repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m one" });
  assert.match(text(await call("git_clone", { id, url: "file:///tmp/repo", path: "/tmp/copy" })), /^Cloned repository/);
  assert.ok((await call("list_snapshots")).structuredContent.snapshots.some((s) => s.name === "daytona-slim"));

  // A snapshot of a Dockerfile; when its build fails, the log says why.
  const name = `mcp-${Date.now()}`;
  assert.match(text(await call("create_snapshot", { name, dockerfile: `FROM scratch\nWORKDIR /srv/${name}\n` })), /^Created snapshot /);
  assert.ok((await call("list_snapshots")).structuredContent.snapshots.some((s) => s.name === name && s.state === "active"));
  assert.equal(text(await call("delete_snapshot", { name })), `Deleted snapshot ${name}`);
  assert.ok((await call("delete_snapshot", { name })).isError);
  assert.ok((await call("create_snapshot", { name })).isError);
  const failed = await call("create_snapshot", { name, dockerfile: `FROM scratch\nRUN ["/${name}"]\n` });
  assert.ok(failed.isError);
  assert.ok(text(failed).includes(`RUN ["/${name}"]`), text(failed));
  await call("delete_snapshot", { name });
  const volumes = await call("list_volumes");
  assert.ok(volumes.isError ? /does not offer/.test(text(volumes)) : Array.isArray(volumes.structuredContent.volumes), text(volumes));

  assert.equal(text(await call("stop_sandbox", { id })), `Stopped sandbox ${id}`);
  assert.equal(JSON.parse(text(await call("execute_command", { id, command: "cat /tmp/copy/.git/HEAD | wc -l" }))).stdout, "1"); // started again

  // What is asked wrongly is answered as an error, and the server goes on.
  assert.ok((await call("file_download", { id })).isError ?? true);
  await assert.rejects(client.callTool({ name: "no_such_tool", arguments: {} }));
} finally {
  assert.equal(text(await call("destroy_sandbox", { id })), `Destroyed sandbox with ID ${id}`);
}
assert.match(text(await call("create_sandbox", { id })), /is gone/);

// Without an id there is a sandbox that is kept, and made again when it is gone.
await call("execute_command", { command: "echo kept > kept.txt" });
assert.equal(text(await call("file_download", { filePath: "kept.txt" })), "kept\n");
const label = (await call("list_sandboxes")).structuredContent.sandboxes.filter((s) => s.labels?.["daytona.io/mcp"]);
for (const kept of label) await call("destroy_sandbox", { id: kept.id });
assert.ok((await call("file_download", { filePath: "kept.txt" })).isError);
for (const kept of (await call("list_sandboxes")).structuredContent.sandboxes.filter((s) => s.labels?.["daytona.io/mcp"])) {
  await call("destroy_sandbox", { id: kept.id });
}
await client.close();
console.log("ok");
