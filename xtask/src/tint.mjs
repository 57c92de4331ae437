// Has Dawn's null backend make a shader module of each file in a folder; prints what Tint says against any.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { create } from 'webgpu';

const folder = process.argv[2];
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
const device = await adapter.requestDevice({ requiredFeatures: ['subgroups'] });
device.addEventListener('uncapturederror', (event) => event.preventDefault());

const files = readdirSync(folder).sort();
let wrong = 0;
for (const file of files) {
  const code = readFileSync(join(folder, file), 'utf8');
  device.pushErrorScope('validation');
  const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
  await device.popErrorScope();
  const name = code.match(/^\/\/ (.*)$/m)[1];
  for (const { type, lineNum, message } of messages.filter(({ type }) => type !== 'info')) {
    console.log(`${name}, line ${lineNum}: ${type}: ${message}`);
  }
  wrong += messages.some(({ type }) => type === 'error') ? 1 : 0;
}
console.log(`${files.length} shaders, ${wrong} not valid`);
process.exit(wrong === 0 && files.length > 0 ? 0 : 1);
