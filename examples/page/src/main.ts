import { Engine, type EngineError } from './client.js'
import { becomesIsolated } from './offline.js'
import type { ModelFacts, Source } from './protocol.js'
import { CompleteView } from './ui/complete-view.js'
import { byId } from './ui/dom.js'
import { parameters } from './ui/format.js'
import { Loading } from './ui/loading.js'
import { ModelView } from './ui/model-view.js'
import { problemOf } from './ui/problems.js'
import { ReadView } from './ui/read-view.js'
import { Tabs } from './ui/tabs.js'
import { WriteView } from './ui/write-view.js'

/** The build replaces it: where the model lies that is opened first. */
declare const MODEL_URL: string
/** The build replaces it: whether this is the development build. Of what stands behind it, no other has a byte. */
declare const BENCH: boolean

const address = new URL(location.href)
if (await becomesIsolated()) await new Promise(() => {}) // the page is being loaded again

const engine = new Engine(new Worker(new URL('./worker.js', import.meta.url), { type: 'module' }))
const loading = new Loading()
if (BENCH) {
  const { addBenchTab } = await import('./bench/bench-tab.js')
  addBenchTab(engine)
}
const tabs = new Tabs(document.querySelector('[role=tablist]')!)
const write = new WriteView(byId('panel-write'), engine)
const complete = new CompleteView(byId('panel-complete'), engine)
const read = new ReadView(byId('panel-read'), engine)
const model = new ModelView(byId('panel-model'), (source, bytes) => void open(source, bytes))
let facts: ModelFacts | undefined
let opening: AbortController | undefined

async function open(source: Source, bytes: boolean): Promise<void> {
  opening?.abort()
  const controller = (opening = new AbortController())
  loading.begin()
  model.fail(undefined)
  // what computes with the model that is open now
  await Promise.all([write.stop(), read.stop(), complete.stop()])
  const threads = Number(address.searchParams.get('threads')) || null
  try {
    const options = { signal: controller.signal, onEvent: (progress: { done: number; total: number }) => loading.show(progress) }
    facts = await engine.call('load', { source, bytes, threads }, options)
  } catch (error) {
    if (opening !== controller) return
    const problem = problemOf(error as EngineError, source)
    loading.fail(`${problem.what} ${problem.advice}${facts ? ` “${facts.name}” stays open.` : ''}`)
    model.fail(problem)
    if (facts) complete.open(facts)
    return
  }
  if (opening !== controller) return
  loading.end(`${facts.name}: ${parameters(facts.parameters)}, ${facts.threads === 1 ? 'one thread' : `${facts.threads} threads`}`)
  model.show(facts)
  complete.open(facts)
  read.open(facts)
  enter(tabs.current)
  await write.open(facts)
}

function enter(tab: string): void {
  if (tab === 'complete') complete.enter()
}

// a file that is dropped beside its place would replace the page
for (const type of ['dragover', 'drop'] as const)
  addEventListener(type, (event) => event.dataTransfer?.types.includes('Files') && event.preventDefault())

tabs.onOpen(enter)
tabs.open(location.hash.slice(1))
const url = address.searchParams.get('model') ?? MODEL_URL
void open({ url: new URL(url, document.baseURI).href }, address.searchParams.has('bytes'))
