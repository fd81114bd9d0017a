import { cpSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { here, installTools, node, project, root, tool } from '../lib/paths.mjs'
import { execute } from '../lib/processes.mjs'

const node24 = String(node(24))
const missing = node(24) && tool('wrangler/package.json') && tool('miniflare/package.json') ? undefined : installTools
const model = join(root, 'models/novels-10m-v2-int8')

/** examples/edge, with the packed tarball. */
export const edgeService = [
  {
    id: 'workerd-service',
    name: 'examples/edge in workerd',
    missing,
    async run() {
      const folder = join(project, 'edge-service')
      cpSync(join(root, 'examples/edge'), folder, { recursive: true, filter: (path) => !/node_modules|[.]wrangler/.test(path) })
      mkdirSync(join(folder, 'node_modules'))
      for (const name of ['wrangler', 'miniflare']) symlinkSync(join(here, 'node_modules', name), join(folder, 'node_modules', name))
      symlinkSync(join(root, 'node_modules/openai'), join(folder, 'node_modules/openai'))
      const installed = (/** @type {string} */ path) => join(here, 'node_modules', path)
      await execute(node24, [installed('wrangler/bin/wrangler.js'), 'types'], {
        cwd: folder,
        env: { ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1' },
      })
      const types = await execute(node24, [installed('typescript/bin/tsc'), '--project', '.'], { cwd: folder }).then(
        () => ({ name: 'what is deployed passes the type checker' }),
        (error) => ({ name: 'what is deployed passes the type checker', error: String(error) }),
      )
      const results = JSON.parse(await execute(node24, ['test/service.mjs', model], { cwd: folder }))
      const options = ['--turns', '500', '--conversations', '10', '--kills', '2', '--minutes', '9', '--model', model]
      const statement = 'no text is wrong and no turn is lost or doubled, whatever befalls clients, objects and the process'
      const soak = await execute(node24, ['soak/run.mjs', ...options], { cwd: folder }).then(
        () => ({ name: statement }),
        (error) => ({ name: statement, error: String(error) }),
      )
      return { results: [types, ...results, soak] }
    },
  },
]
