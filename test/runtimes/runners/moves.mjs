import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { check, equal, run } from '../suite/check.js'
import { build, installTools, model, node, project, tool } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'

const node24 = node(24)
const deno = tool('@deno/linux-x64-glibc/deno')
const bun = tool('@oven/bun-linux-x64/bin/bun')

/** @typedef {{ token?: number, prompt?: string }[]} Events */

/** A conversation that is held in Node, then in Deno, then in Bun, and comes back. */
export const moves = [
  {
    id: 'moves',
    name: 'A conversation from Node to Deno, to Bun, and back',
    missing: node24 && deno && bun ? undefined : installTools,
    run: async () => ({
      results: [...(await journey('by its tokens')), ...(await journey('with a snapshot', 'a secret that these servers share'))],
    }),
  },
]

/** @param {string} how @param {string} [secret] */
async function journey(how, secret) {
  const places = [
    {
      name: 'Node',
      command: [String(node24)],
      prompt: `${'It was a dark and stormy night; the rain fell in torrents. '.repeat(10)}The old captain`,
    },
    { name: 'Deno', command: [String(deno), 'run', '-A'], prompt: ' put down his glass' },
    { name: 'Bun', command: [String(bun), 'run'], prompt: ' and said' },
    { name: 'Node', command: [String(node24)], prompt: ' And then' },
  ]
  const file = (/** @type {number} */ at) => join(build, `${secret ? 'signed' : 'plain'}-${at}.conversation`)
  /** @type {{ before: Events, after: Events }[]} */
  const told = []
  const statements = places.map(({ name, command: [binary = '', ...command], prompt }, at) => [
    `${how}: ${at === 0 ? 'it begins in' : 'it is told again in'} ${name}, and goes on`,
    async () => {
      const body = { prompt, max_tokens: 40, seed: at }
      const database = at % 2 === 0 ? join(build, `${secret ? 'signed' : 'plain'}-${at}.sqlite`) : undefined
      const config = { folder: model, database, secret, body, leaves: file(at), ...(at > 0 && { arrives: file(at - 1) }) }
      told.push(JSON.parse(await execute(binary, [...command, 'hosts/move-conversation.mjs', JSON.stringify(config)], { cwd: project })))
      const { before, after } = /** @type {typeof told[0]} */ (told[at])
      equal(before, at === 0 ? [] : told[at - 1]?.after, 'what was told on arrival')
      equal(after.slice(0, before.length), before, 'what was told before the turn, after it')
      equal(after.length - before.length, 1 + 40, 'the events of the turn')
    },
  ])
  /** One session in Node, which reads what Bun has said, and says the rest itself. */
  const same = [
    `${how}: what Node and Deno say is what one session in Node does`,
    async () => {
      check(readFileSync(file(0), 'latin1').startsWith('RTCONV'), 'it is no file')
      const turns = places.map(({ name, prompt }, at) => ({ prompt, seed: at, ids: name === 'Bun' ? tokensOf(told, at) : null }))
      const args = ['hosts/undisturbed.mjs', JSON.stringify({ folder: model, turns, maxTokens: 40 })]
      const expected = JSON.parse(await execute(String(node24), args, { cwd: project }))
      for (const [at, { name }] of places.entries()) if (name !== 'Bun') equal(tokensOf(told, at), expected[at], `turn ${at}, in ${name}`)
    },
  ]
  return run([...statements, same])
}

/** @param {{ before: Events, after: Events }[]} told @param {number} at */
function tokensOf(told, at) {
  const { before, after } = /** @type {typeof told[0]} */ (told[at])
  return after.slice(before.length).flatMap(({ token }) => token ?? [])
}
