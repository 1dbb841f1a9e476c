// Takes a sound shader from a folder that tests/shaders.rs wrote, and plants one fault at a time in it.
//
//   node plant.mjs FOLDER TARGET      makes TARGET/sound, TARGET/barrier, ...

import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, target] = process.argv.slice(2);
// Those that Tint looks at.
const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')).filter(s => !s.words64);

// A copy of the first shader that `fits` in a folder of its own, changed by `change`.
function plant(name, fits, change) {
    const shader = structuredClone(manifest.find(s => fits(s, readFileSync(join(folder, s.wgsl), 'utf8'))));
    const to = join(target, name);
    mkdirSync(to, { recursive: true });
    for (const file of [shader.wgsl, ...shader.spirv]) copyFileSync(join(folder, file), join(to, file));
    change(shader, file => join(to, file));
    writeFileSync(join(to, 'manifest.json'), JSON.stringify([shader]));
}

function replace(path, from, by) {
    const text = readFileSync(path, 'utf8');
    const changed = text.replace(from, by);
    if (changed === text) throw new Error(`${path} does not match ${from}`);
    writeFileSync(path, changed);
}

const reduction = (shader, text) => shader.entry === 'reduce_rows_workgroup' && text.includes('return a + b;');

plant('sound', reduction, () => {});

// A barrier that some invocations do not reach.
plant('barrier', reduction, (shader, at) => replace(at(shader.wgsl), /workgroupBarrier\(\);/, 'if (lane < 7u) { $& }'));

// A call of a function that is not there.
plant('name', reduction, (shader, at) => replace(at(shader.wgsl), 'neutral();', 'no_such_function();'));

// Lanes of a subgroup of which some have left.
plant('subgroup', (_, text) => text.includes('subgroupBroadcast'), (shader, at) =>
    replace(at(shader.wgsl), /\n( *for )/, '\n    if (lane > 3u) { return; }\n$1'));

// Sound as a module; too large as a pipeline, by the value of an override.
plant('override', reduction, (shader, at) => {
    replace(at(shader.wgsl), /var<workgroup> partial: array<f32, 64>;/, 'override n: u32;\nvar<workgroup> partial: array<f32, n>;');
    shader.constants = { n: 1000000 };
});

// A sum of floats made a sum of integers.
plant('invalid-spirv', reduction, (shader, at) => {
    const file = at(shader.spirv[0]);
    const bytes = readFileSync(file);
    const [FADD, IADD] = [129, 128];
    for (let word = 5; word * 4 < bytes.length; word += bytes.readUInt16LE(word * 4 + 2)) {
        if (bytes.readUInt16LE(word * 4) !== FADD) continue;
        bytes.writeUInt16LE(IADD, word * 4);
        writeFileSync(file, bytes);
        return;
    }
    throw new Error(`${file} adds no floats`);
});
