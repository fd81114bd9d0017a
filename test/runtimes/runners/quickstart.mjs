import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chromium, visit } from '../lib/browsers.mjs'
import { installTools, model, node, project, root, tool } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'
import { serve } from '../lib/server.mjs'

/**
 * The lines that the two packages' READMEs begin with, and how else the folder is found: what is run, and what it
 * prints.
 */
const programs = [
  {
    name: 'the lines of README.md run',
    code: () => snippet(join(root, 'README.md'), 'js'),
    prints: /\S[^]*\n\d+ tokens in \d+ bytes\n$/,
  },
  {
    name: "the lines of the model's README.md run",
    code: () => snippet(join(model, 'README.md'), 'js'),
    prints: /^The old captain\S*(\s+\S+){15}/,
  },
  {
    name: 'import.meta.resolve finds a file of the model',
    code: () => "console.log(import.meta.resolve('routed-attention-novels-10m/config.json'))",
    prints: /^file:.*\/node_modules\/routed-attention-novels-10m\/config[.]json\n$/,
  },
]

/** Both packages from npm, and nothing else: the program of each README. */
export const quickstart = [
  ...[20, 24].map((version) => host(`node-${version}`, `Node ${version}`, node(version), [])),
  host('deno', 'Deno', tool('@deno/linux-x64-glibc/deno'), ['run', '--allow-read']),
  host('bun', 'Bun', tool('@oven/bun-linux-x64/bin/bun'), ['run']),
  {
    id: 'quickstart-chromium',
    name: 'Both packages from npm, in Chromium',
    missing: chromium.missing,
    run: runPage,
  },
]

/** The first block of code in a language that loads the model. @param {string} file @param {string} language */
function snippet(file, language) {
  const blocks = [...readFileSync(file, 'utf8').matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)]
  const code = blocks.find(([, of, code = '']) => of === language && code.includes('routed-attention-novels-10m'))?.[2]
  if (code === undefined) throw new Error(`${file} has no ${language} that loads routed-attention-novels-10m`)
  return code
}

/** @param {string} id @param {string} name @param {string | undefined} binary @param {string[]} command */
function host(id, name, binary, command) {
  return {
    id: `quickstart-${id}`,
    name: `Both packages from npm, in ${name}`,
    missing: binary ? undefined : installTools,
    async run() {
      const results = []
      for (const { name, code, prints } of programs) {
        const result = { name }
        writeFileSync(join(project, 'quickstart.mjs'), code())
        try {
          const printed = await execute(String(binary), [...command, 'quickstart.mjs'], { cwd: project })
          results.push(prints.test(printed) ? result : { ...result, error: `it printed "${printed}", expected ${prints}` })
        } catch (error) {
          results.push({ ...result, error: String(error) })
        }
      }
      return { results }
    },
  }
}

/** The page of the model's README, with the model from its folder over http. */
async function runPage() {
  const id = 'quickstart-chromium'
  const folder = join(project, id)
  mkdirSync(folder, { recursive: true })
  const { origin, close } = await serve(folder)
  const config = { id, data: origin, name: "the page of the model's README.md shows the old captain", expected: '(\\S+\\s+){20}' }
  const observer = `<script type="module" src="/hosts/observe.js?${encodeURIComponent(JSON.stringify(config))}"></script>\n`
  writeFileSync(join(folder, 'index.html'), observer + snippet(join(model, 'README.md'), 'html'))
  return visit(chromium, id, `${origin}/index.html`).finally(close)
}
