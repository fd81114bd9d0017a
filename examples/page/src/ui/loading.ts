import { announce, byId } from './dom.js'
import { megabytes } from './format.js'

/** The line at the top that tells how far loading is. It keeps its height, so that nothing moves when it is done. */
export class Loading {
  readonly #element = byId('loading')
  readonly #progress = byId<HTMLProgressElement>('load-progress')
  readonly #status = byId('load-status')

  begin(): void {
    this.#element.dataset.state = 'loading'
    this.#progress.value = 0
    this.#status.textContent = 'Loading the model…'
    announce('Loading the model.')
  }

  show({ done, total }: { done: number; total: number }): void {
    this.#progress.max = total
    this.#progress.value = done
    this.#status.textContent = `Loading the model: ${megabytes(done)} of ${megabytes(total)}`
  }

  end(text: string): void {
    this.#element.dataset.state = 'ready'
    this.#status.textContent = text
    announce(`Ready: ${text}.`)
  }

  fail(text: string): void {
    this.#element.dataset.state = 'failed'
    this.#status.textContent = text
    announce(text)
  }
}
