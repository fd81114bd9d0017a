import { cpSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { check, equal, run } from '../suite/check.js'
import { node, project, root } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'

const model = 'routed-attention-novels-10m-v2-int8'
/** Megabytes that a process may have at most, which is what the page says with some room. */
const MAX_MEGABYTES = 200

/** docs/platforms/functions.md: its programs, each request in a process of its own. @param {{ snippets: Record<string, string> }} page */
export async function runFunctions({ snippets }) {
  return run([
    ...statements('AWS Lambda', 'aws-lambda', 'index.mjs', snippets['index.mjs']),
    ...statements('Vercel', 'vercel', 'api/index.js', snippets['api/index.js']),
  ])
}

/**
 * @param {string} platform @param {string} example @param {string} file @param {string | undefined} snippet
 * @returns {[string, () => Promise<void>][]}
 */
function statements(platform, example, file, snippet) {
  const source = join(root, 'examples', example)
  const folder = join(project, example)
  rmSync(folder, { recursive: true, force: true })
  cpSync(source, folder, { recursive: true })
  mkdirSync(join(folder, 'node_modules'))
  symlinkSync(join(project, 'node_modules/routed-attention'), join(folder, 'node_modules/routed-attention'), 'dir')
  symlinkSync(join(root, 'models', model.replace('routed-attention-', '')), join(folder, 'node_modules', model), 'dir')
  /** @param {object} request */
  const invoke = async (request) => {
    const output = await execute(String(node(24)), [join(project, 'hosts/invoke.mjs'), file, JSON.stringify(request)], { cwd: folder })
    const [, body = '', report = ''] = /^([^]*)\n(.+)\n$/.exec(output) ?? []
    return { body, ...JSON.parse(report) }
  }
  const body = { prompt: 'The old captain', max_tokens: 20, temperature: 0 }
  return [
    [`${platform}: the page shows the program as it is`, async () => equal(snippet, readFileSync(join(source, file), 'utf8'), file)],
    [
      `${platform}: a fresh process answers at once and in pieces, and says what it should`,
      async () => {
        const whole = await invoke({ body })
        equal([whole.statusCode, whole.headers['content-type']], [200, 'application/json'], 'the answer')
        const { text } = JSON.parse(whole.body).choices[0]
        check(/\S+ \S+/.test(text), `it says ${text}`)
        const streamed = await invoke({ body: { ...body, stream: true } })
        equal([streamed.statusCode, streamed.headers['content-type']], [200, 'text/event-stream'], 'the stream')
        const events = streamed.body.split('\n\n').filter((/** @type {string} */ event) => event.startsWith('data: {'))
        equal(events.map((/** @type {string} */ event) => JSON.parse(event.slice(6)).choices[0].text).join(''), text, 'the streamed text')
        check(streamed.pieces > 10, `it came in ${streamed.pieces} pieces`)
        for (const { megabytes } of [whole, streamed]) check(megabytes < MAX_MEGABYTES, `it took ${megabytes} MB`)
      },
    ],
    [
      `${platform}: keys are needed, and there are no conversations`,
      async () => {
        equal((await invoke({ body, key: 'another' })).statusCode, 401, 'another key')
        equal((await invoke({ body: {}, path: '/v1/conversations' })).statusCode, 404, 'conversations')
        equal((await invoke({ method: 'GET', path: '/v1/models?x=1' })).statusCode, 200, 'models')
      },
    ],
  ]
}
