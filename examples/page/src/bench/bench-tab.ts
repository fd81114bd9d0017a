import type { Engine } from '../client.js'
import { h } from '../ui/dom.js'
import { BenchView } from './bench-view.js'

/** Adds the bench to the page's tabs, which must not have been read yet. Only the development build has it. */
export function addBenchTab(engine: Engine): void {
  const panel = h('section', {
    ...{ id: 'panel-bench', class: 'panel', hidden: true },
    attributes: { role: 'tabpanel', 'aria-labelledby': 'tab-bench' },
  })
  const tab = h(
    'button',
    {
      ...{ id: 'tab-bench', tabIndex: -1 },
      attributes: { role: 'tab', 'data-name': 'Bench', 'aria-controls': 'panel-bench', 'aria-selected': 'false' },
    },
    'Bench',
  )
  document.querySelector('[role=tablist]')!.append(tab)
  document.querySelector('main')!.append(panel)
  const view = new BenchView(panel, engine)
  new MutationObserver(() => {
    if (panel.hidden) return
    tab.scrollIntoView({ block: 'nearest', inline: 'nearest' })
    void view.look()
  }).observe(panel, { attributeFilter: ['hidden'] })
}
