// Makes a compute pipeline of every shader of a manifest with Dawn, whose compiler for WGSL is Tint, on its null
// backend: no driver is needed. Prints what Tint says against them; exit code 1 if it says anything.
//
//   node tint.mjs FOLDER      FOLDER has manifest.json, as tests/shaders.rs writes it
//   node tint.mjs FOLDER N    the shaders from the Nth on, as many as one process takes

import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { create, globals } from 'webgpu';

Object.assign(globalThis, globals);
const folder = process.argv[2];
// What moves 64-bit words is for llvmpipe only: WebGPU has no such type. spirv-val reads it.
const all = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')).filter(s => !s.words64);

// Dawn may hang or abort once it has made some thousand pipelines.
const MOST = 400;
if (process.argv[3] === undefined && all.length > MOST) {
    let failed = false;
    for (let from = 0; from < all.length; from += MOST) {
        const { status } = spawnSync(process.execPath, [process.argv[1], folder, from], { stdio: 'inherit' });
        failed ||= status !== 0;
    }
    process.exit(failed ? 1 : 0);
}
const from = Number(process.argv[3] ?? 0);
const manifest = all.slice(from, from + MOST);

// Held: Dawn goes down with it.
const gpu = create(['backend=null']);
const adapter = await gpu.requestAdapter();
// WebGPU's default limits, which wgrad promises to stay within.
const device = await adapter.requestDevice({ requiredFeatures: ['subgroups', 'shader-f16'] });

let findings = 0;
let pipelines = 0;
for (const { wgsl, entry, constants, storage_buffers, keys } of manifest) {
    const text = readFileSync(join(folder, wgsl), 'utf8');
    // Tint wants the extension named; naga refuses the line.
    const code = /\bsubgroup/.test(text) ? `enable subgroups;\n${text}` : text;
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    const said = (await module.getCompilationInfo()).messages;
    const found = said.map(m => `${m.lineNum}:${m.linePos} ${m.type}: ${m.message}`);
    // Sizes given by overrides, limits and bindings are looked at only here.
    // The null backend has no more storage buffers than the default; what needs more is for adapters with more.
    if (storage_buffers <= device.limits.maxStorageBuffersPerShaderStage) {
        device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: entry, constants } });
        pipelines += 1;
    }
    const error = await device.popErrorScope();
    if (error && !said.some(m => m.type === 'error')) found.push(error.message);
    found.forEach(f => console.log(`Tint: ${wgsl} (${keys[0]}): ${f.trim()}`));
    findings += found.length > 0;
}
const kernels = manifest.reduce((n, s) => n + s.keys.length, 0);
console.log(`Tint (Dawn's null backend): ${manifest.length} shaders of ${kernels} kernels, ${pipelines} pipelines, ${findings} findings`);
process.exit(findings ? 1 : 0);
