import { caption } from '../lib/machine.mjs'
import { closeAll, openRunners } from '../lib/runner.mjs'
import { count, mebibytes, significant } from '../lib/statistics.mjs'
import { table } from '../lib/tables.mjs'

export const title = 'A million tokens through one session'

export async function run({ quick, note }) {
  const total = quick ? 10_240 : 1_000_000
  const marks = quick ? 2 : 8
  const entries = await openRunners([{ name: 'ours', script: 'ours-model', args: { threads: 1 }, ours: true }], note)
  try {
    const [{ runner }] = entries
    const first = 2048
    await runner.call('prefill', first)
    const rows = []
    const lengths = new Set()
    for (let mark = 0; mark <= marks; mark++) {
      const target = mark === 0 ? first : Math.round((total * mark) / marks)
      const before = rows.length === 0 ? first : rows.at(-1).position
      const state = await runner.call('stream', first, target - before)
      lengths.add(state.byteLength)
      rows.push({ ...state, tokens: target - before })
    }
    if (lengths.size > 1) throw new Error(`session.byteLength changed on the way: ${[...lengths].join(', ')}`)
    const [start] = rows
    const end = rows.at(-1)
    return [
      `\`session.append\`, 2,048 tokens at a time, one thread. \`session.byteLength\` stayed ${count(start.byteLength)} bytes (${mebibytes(start.byteLength)}) from token ${count(start.position)} to token ${count(end.position)}; the runtime's memory ${start.used === end.used ? 'stayed' : `went from ${count(start.used)} to`} ${count(end.used)} bytes in use, and the process's resident memory went from ${mebibytes(start.resident)} to ${mebibytes(end.resident)}.`,
      table(
        ['position', 'tokens/s', 'session.byteLength', 'memory.used', 'memory.reserved', 'resident'],
        rows.map(({ position, seconds, tokens, byteLength, used, reserved, resident }) => [
          count(position),
          tokens > 0 ? significant(tokens / seconds) : undefined,
          count(byteLength),
          count(used),
          count(reserved),
          mebibytes(resident),
        ]),
      ),
      caption(),
    ].join('\n\n')
  } finally {
    await closeAll(entries)
  }
}
