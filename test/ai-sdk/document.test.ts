/** Every snippet of docs/ai-sdk.md, executed as it stands, but for the page's components, which are bundled. */
import { execFile, spawnSync } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import * as ai from 'ai'
import { build } from 'esbuild'
import { afterAll, expect, test } from 'vitest'
import { seeded } from '../support/seeded-process.js'
import { startServing } from '../support/serving.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
/** Inside the package, where `routed-attention` is the package itself. */
mkdirSync(join(root, 'build'), { recursive: true })
const folder = mkdtempSync(join(root, 'build', 'ai-sdk-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
mkdirSync(join(folder, 'node_modules'))
symlinkSync(join(root, 'models/novels-10m'), join(folder, 'node_modules/routed-attention-novels-10m'), 'junction')
for (const name of ['grammars.mjs', 'load-xgrammar.mjs']) copyFileSync(join(root, 'examples/constrained-output', name), join(folder, name))

const snippets = new Map<string, string>()
for (const [, language, name, code] of readFileSync(join(root, 'docs/ai-sdk.md'), 'utf8').matchAll(/^```(\w+) ?(\S*)\n([\s\S]*?)^```$/gm))
  snippets.set(name! || `a snippet of ${language}`, code!)

function run(name: string, code = snippets.get(name)!): string {
  writeFileSync(join(folder, name), code)
  const { status, stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, ...seeded, join(folder, name)], {
    cwd: folder,
    encoding: 'utf8',
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  return stdout
}

test('contains exactly these snippets', () => {
  expect([...snippets.keys()]).toEqual(['a snippet of sh', 'text.mjs', 'page.jsx', 'route.js', 'objects.mjs', 'template.js', 'http.mjs'])
})

test('generates and streams text', () => {
  expect(run('text.mjs')).toMatch(/^, and the old man, and the old man.* 12\n[\s\S]{10,}$/)
})

test('the page bundles, and imports only what `ai` exports', async () => {
  const { outputFiles } = await build({
    stdin: { contents: snippets.get('page.jsx')!, loader: 'jsx', resolveDir: folder },
    bundle: true,
    format: 'esm',
    jsx: 'automatic',
    logLevel: 'error',
    external: ['react', '@ai-sdk/react', 'react/jsx-runtime', 'ai', 'node:*'],
    write: false,
  })
  expect(outputFiles[0]!.text).toMatch(/createRoutedAttention/)
  const [, names] = /import \{ (.*) \} from 'ai'/.exec(snippets.get('page.jsx')!)!
  for (const name of names!.split(', ')) expect(ai).toHaveProperty(name)
})

test('the route handler answers what useChat sends', () => {
  writeFileSync(join(folder, 'route.js'), snippets.get('route.js')!)
  const messages = [{ id: '1', role: 'user', parts: [{ type: 'text', text: 'The old captain' }] }]
  const printed = run(
    'drive.mjs',
    `import { DefaultChatTransport } from 'ai'
    import { POST } from './route.js'
    const transport = new DefaultChatTransport({ api: 'http://localhost/api/chat', fetch: (url, init) => POST(new Request(url, init)) })
    const stream = await transport.sendMessages({ trigger: 'submit-message', chatId: '1', messages: ${JSON.stringify(messages)} })
    const types = []
    let text = ''
    for await (const chunk of stream) {
      if (types.at(-1) !== chunk.type) types.push(chunk.type)
      if (chunk.type === 'text-delta') text += chunk.delta
    }
    console.log(types.join(), text.length > 100)
    process.exit()`,
  )
  expect(printed).toBe('start,start-step,text-start,text-delta,text-end,finish-step,finish true\n')
})

test('an object is generated', () => {
  expect(run('objects.mjs')).toMatch(/^\{ age: -?\d+, isSober: (true|false) \}\n$/)
})

test('a template with special tokens is a prompt', () => {
  const template = snippets.get('template.js')!
  const printed = run(
    'template.mjs',
    `import { generateText } from 'ai'
    import { LanguageModel } from 'routed-attention'
    import { createRoutedAttention } from 'routed-attention/ai-sdk'
    import novels from 'routed-attention-novels-10m'
    const model = await LanguageModel.load(novels)
    ${template}
    const { usage } = await generateText({ model: chat, instructions: 'Be brief.', prompt: 'Ahoy', maxOutputTokens: 5 })
    const read = model.tokenizer.encode('<|system|>').length + model.tokenizer.encode('Be brief.').length + model.tokenizer.encode('<|user|>').length
    console.log(usage.inputTokens === read + model.tokenizer.encode('Ahoy').length + model.tokenizer.encode('<|assistant|>').length)
    model.dispose()`,
  )
  expect(printed).toBe('true\n')
})

test('text is streamed over HTTP', async () => {
  const serving = await startServing('--name', 'routed-attention-novels-10m')
  try {
    const code = snippets.get('http.mjs')!.replace('http://127.0.0.1:8080', serving.origin)
    writeFileSync(join(folder, 'http.mjs'), code)
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [join(folder, 'http.mjs')], {
      cwd: folder,
      env: { ...process.env, NODE_NO_WARNINGS: '1' }, // of the provider, about a setting that the AI SDK itself made
    })
    expect({ stdout, stderr }).toEqual({ stdout: expect.stringMatching(/^[\s\S]{20,}\n\d+ tokens\n$/) as string, stderr: '' })
  } finally {
    await serving.end()
  }
})
