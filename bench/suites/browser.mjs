import { existsSync } from 'node:fs'
import { basename } from 'node:path'
import { writeBaseline } from '../constant-memory/files.mjs'
import { float32Model } from '../lib/float32-model.mjs'
import { runSweep, sweepTable } from '../lib/sweep.mjs'
import { caption } from '../lib/machine.mjs'
import { chromiumBinary } from '../lib/paths.mjs'
import { closeAll, openRunners } from '../lib/runner.mjs'
import { mebibytes, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'The language model in a browser'

const positions = [256, 512, 2048, 8192, 16384, 65536]
const quickPositions = [256]
/** Longer prompts take wllama more than a few minutes. */
const WLLAMA_UP_TO = 16384

export async function run({ quick, note }) {
  if (!existsSync(chromiumBinary)) {
    note(`Left out: there is no Chromium at ${chromiumBinary}`)
    return undefined
  }
  const sweep = quick ? quickPositions : positions
  const rounds = quick ? 2 : 9
  const tokens = quick ? 8 : 32
  const room = Math.min(sweep.at(-1), WLLAMA_UP_TO) + 2 * tokens
  const files = writeBaseline('sliding window')
  const wllama = (name, format) => ({
    name,
    script: 'browser',
    args: { kind: 'wllama', file: files[format], positions: room, threads: 1 },
    last: WLLAMA_UP_TO,
  })
  const ours = (name, model, quantize) => {
    return { name, script: 'browser', args: { kind: 'ours', threads: 1, model, quantize }, ours: true, last: Infinity }
  }
  const models = [
    ours('ours', `built/${basename(await float32Model())}`),
    ours('ours, float16', 'model'),
    ours('ours, int8', 'model', 'int8'),
    wllama('wllama', 'f32'),
    wllama('wllama, Q8_0', 'q8_0'),
  ]
  const entries = await openRunners(models, note)
  try {
    const points = await runSweep(entries, sweep, { rounds, tokens })
    const rows = (what) =>
      sweepTable(points, what, models, [
        ['ours', 'wllama'],
        ['ours, int8', 'wllama, Q8_0'],
      ])
    const pages = []
    for (const { name, runner, info } of entries) {
      pages.push([name, significant(info.loaded * 1000), mebibytes(await runner.call('pageMemory'))])
    }
    return [
      `Tokens a second in Chromium ${entries[0].info.chromium}, one thread. Ours has float32 weights except in the columns marked float16, which is how the model is stored, and int8, which it is rounded to when it is loaded. wllama runs **another model of the same size**, the sliding window with random weights of the table above, with its fastest settings here (no flash attention, a float32 cache), float32 and Q8_0. Of the two, its float32 is the faster one in a browser: the last column compares 8 bits with 8 bits, not the best with the best.`,
      'Prefill:',
      rows('prefill'),
      'Decoding:',
      rows('decode'),
      "Time to load a model from a server on the same machine, and peak resident memory of the page's process:",
      table(['', 'loaded, ms', 'peak memory'], pages),
      caption(['@wllama/wllama', 'playwright-core']),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
