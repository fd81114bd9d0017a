type Child = Node | string | null | undefined | false

type Properties<Name extends keyof HTMLElementTagNameMap> = Partial<
  Omit<HTMLElementTagNameMap[Name], 'style' | 'dataset' | 'attributes'>
> & {
  class?: string
  style?: Readonly<Record<string, string>>
  attributes?: Readonly<Record<string, string>>
  on?: { readonly [Type in keyof HTMLElementEventMap]?: (event: HTMLElementEventMap[Type]) => void }
}

/** An element with its properties, listeners and children. */
export function h<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  { class: className, style, attributes, on, ...properties }: Properties<Name> = {},
  ...children: Child[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name)
  Object.assign(element, properties)
  if (className) element.className = className
  for (const [key, value] of Object.entries(style ?? {})) element.style.setProperty(key, value)
  for (const [key, value] of Object.entries(attributes ?? {})) element.setAttribute(key, value)
  for (const [type, listener] of Object.entries(on ?? {})) element.addEventListener(type, listener as EventListener)
  element.append(...children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false))
  return element
}

/** An element of SVG with its attributes. */
export function svg<Name extends keyof SVGElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, string | number>> = {},
  ...children: Node[]
): SVGElementTagNameMap[Name] {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value))
  element.append(...children)
  return element
}

export function byId<Type extends HTMLElement = HTMLElement>(id: string): Type {
  const element = document.getElementById(id)
  if (!element) throw new Error(`the page has no element #${id}`)
  return element as Type
}

/** Runs the latest of many calls, once a frame. */
export function oncePerFrame<Arguments extends unknown[]>(draw: (...args: Arguments) => void): (...args: Arguments) => void {
  let latest: Arguments | undefined
  return (...args) => {
    if (!latest)
      requestAnimationFrame(() => {
        const current = latest!
        latest = undefined
        draw(...current)
      })
    latest = args
  }
}

/** Milliseconds after which what was said is taken away: who reads the page to its end would find it there. */
const SAID_FOR = 8000
let saying = 0

/**
 * Says something to those who listen to the page; the last word counts. Nothing else in it is read out by itself: what
 * changes many times a second, as figures do, would leave no time to listen.
 */
export function announce(text: string): void {
  const announcer = byId('announcer')
  // the same words twice are no change
  announcer.textContent = announcer.textContent === text ? `${text}\u00A0` : text
  clearTimeout(saying)
  saying = window.setTimeout(() => (announcer.textContent = ''), SAID_FOR)
}
