// @ts-check
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** Roles of what a visitor uses: each must have a name. */
const CONTROLS = new Set(['button', 'link', 'textbox', 'searchbox', 'combobox', 'checkbox', 'radio', 'slider', 'spinbutton', 'tab', 'progressbar', 'image', 'figure', 'group']) // prettier-ignore
/** A group or a figure without a name is only not read out. */
const MAY_BE_UNNAMED = new Set(['group', 'figure'])

/**
 * What axe finds in the page as it is shown now, of any impact.
 * @param {import('playwright-core').Page} page @returns {Promise<{ passed: number, violations: string[] }>}
 */
export async function axeFindings(page) {
  await page.evaluate(axe)
  return page.evaluate(async () => {
    const { passes, violations } = await /** @type {any} */ (globalThis).axe.run()
    const html = (/** @type {any[]} */ nodes) => nodes.slice(0, 3).map((node) => node.html.slice(0, 120))
    const told = violations.map((/** @type {any} */ { id, impact, nodes }) => `${id} (${impact}): ${html(nodes).join(' ')}`)
    return { passed: passes.length, violations: told }
  })
}

/**
 * The controls in the tree that screen readers read, and those without a name.
 * @param {import('playwright-core').Page} page @returns {Promise<{ named: number, unnamed: string[] }>}
 */
export async function namesOfControls(page) {
  const session = await page.context().newCDPSession(page)
  const { nodes } = /** @type {{ nodes: any[] }} */ (await session.send('Accessibility.getFullAXTree'))
  await session.detach()
  const controls = nodes.filter(({ ignored, role }) => !ignored && CONTROLS.has(role?.value))
  const unnamed = controls.filter(({ name, role }) => !name?.value?.trim() && !MAY_BE_UNNAMED.has(role.value))
  return {
    named: controls.length - unnamed.length,
    unnamed: unnamed.map(({ role, backendDOMNodeId }) => `${role.value} ${backendDOMNodeId}`),
  }
}

/**
 * Presses Tab until the focus has been everywhere, and comes back: no control keeps it.
 * @param {import('playwright-core').Page} page @returns {Promise<{ reached: number, missed: string[] }>}
 */
export async function reachableByKeyboard(page) {
  await page.mouse.move(0, 0) // over a text, it would look at a token
  await page.evaluate(() => {
    const { activeElement } = document
    if (activeElement instanceof HTMLElement) activeElement.blur()
    const notes = /** @type {any} */ (globalThis)
    notes.focused = new Set()
    document.addEventListener('focusin', ({ target }) => notes.focused.add(target))
  })
  const reached = () => page.evaluate(() => /** @type {any} */ (globalThis).focused.size)
  for (let size = -1, idle = 0; idle < 12;) {
    // the editor's Tab accepts a suggestion, until Escape refuses it
    await page.keyboard.press('Escape')
    await page.keyboard.press('Tab')
    const now = await reached()
    idle = now === size ? idle + 1 : 0
    size = now
  }
  const missed = await page.evaluate(() => {
    const { focused } = /** @type {any} */ (globalThis)
    const able = 'a[href], button, input, select, textarea, summary, [tabindex="0"]'
    const seen = [...document.querySelectorAll(able)].filter((element) => element.checkVisibility() && !element.matches(':disabled'))
    return seen
      .filter((element) => !focused.has(element) && !element.matches('[tabindex="-1"]'))
      .map((element) => element.outerHTML.slice(0, 80))
  })
  return { reached: await reached(), missed }
}

/**
 * What a careful browser would complain of: collects it from now on.
 * @param {import('playwright-core').Page} page @param {string} origin of the page
 */
export async function watchPractices(page, origin) {
  /** @type {string[]} */
  const complaints = []
  let requests = 0
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && complaints.push(`console: ${message.text()}`))
  page.on('pageerror', ({ message }) => complaints.push(`error: ${message}`))
  page.on('request', (request) => {
    requests++
    const url = request.url()
    if (!url.startsWith(origin) && !/^(data|blob):/.test(url)) complaints.push(`another host is asked: ${url}`)
  })
  page.on('response', (response) => response.status() >= 400 && complaints.push(`${response.status()}: ${response.url()}`))
  const session = await page.context().newCDPSession(page)
  session.on('Audits.issueAdded', ({ issue }) => complaints.push(`browser: ${issue.code} ${JSON.stringify(issue.details)}`))
  await session.send('Audits.enable')
  return {
    /** @returns {Promise<{ complaints: string[], requests: number, checks: number }>} */
    async ended() {
      const checks = await page.evaluate(() => {
        const has = (/** @type {string} */ selector) => document.querySelector(selector) !== null
        return {
          'a doctype': document.doctype?.name === 'html' && document.compatMode === 'CSS1Compat',
          'the character set': document.characterSet === 'UTF-8' && has('meta[charset]'),
          'a language': document.documentElement.lang !== '',
          'a title': document.title !== '',
          'a description': has('meta[name=description][content]'),
          'a viewport that can be zoomed': /width=device-width/.test(
            /** @type {HTMLMetaElement} */ (document.querySelector('meta[name=viewport]')).content,
          ),
          'a secure context': isSecureContext,
          'isolation from other origins': crossOriginIsolated,
          'no script in the way of the first paint': !has('head script:not([type=module], [async], [defer])'),
          'no duplicate ids':
            new Set([...document.querySelectorAll('[id]')].map(({ id }) => id)).size === document.querySelectorAll('[id]').length,
          'one main landmark, one first heading':
            document.querySelectorAll('main').length === 1 && document.querySelectorAll('h1').length === 1,
        }
      })
      const missing = Object.entries(checks).filter(([, holds]) => !holds)
      return {
        complaints: [...complaints, ...missing.map(([name]) => `missing: ${name}`)],
        requests,
        checks: Object.keys(checks).length,
      }
    },
  }
}
