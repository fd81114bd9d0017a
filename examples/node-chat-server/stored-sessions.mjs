// @ts-check
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

/** Sessions stored as files: they take memory only while in use, and survive a restart of the server. */
export class StoredSessions {
  #model
  #folder
  /** The last task of each session in use. @type {Map<string, Promise<unknown>>} */
  #turns = new Map()

  /**
   * @param {import('routed-attention').LanguageModel} model
   * @param {string} folder
   */
  constructor(model, folder) {
    this.#model = model
    this.#folder = folder
  }

  /**
   * Runs `work` on a session, creating it if there is none of this name, and saves it afterwards. Tasks on the same
   * session run one after another.
   * @template T
   * @param {string} name must be valid as a file name
   * @param {(session: import('routed-attention').Session) => Promise<T>} work
   * @returns {Promise<T>}
   */
  use(name, work) {
    return this.#inTurn(name, async () => {
      const session = await this.#open(name)
      try {
        return await work(session)
      } finally {
        // even after an error the session is consistent: its state is that of the last successful append
        if (session.position > 0) await this.#save(name, session.save())
        session.dispose()
      }
    })
  }

  /**
   * @param {string} name
   * @returns {Promise<Uint8Array<ArrayBuffer> | undefined>} its bytes, once pending tasks have ended
   */
  read(name) {
    return this.#inTurn(name, () => this.#read(name))
  }

  /**
   * Creates or replaces a session.
   * @param {string} name
   * @param {Uint8Array} bytes
   * @throws RoutedAttentionError `BAD_FILE` if the model cannot restore them
   */
  write(name, bytes) {
    return this.#inTurn(name, async () => {
      this.#model.restoreSession(bytes).dispose()
      await this.#save(name, bytes)
    })
  }

  /** @param {string} name */
  delete(name) {
    return this.#inTurn(name, () => rm(this.#path(name), { force: true }))
  }

  /**
   * @template T
   * @param {string} name
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async #inTurn(name, work) {
    const turn = (this.#turns.get(name) ?? Promise.resolve()).then(work, work)
    this.#turns.set(name, turn)
    try {
      return await turn
    } finally {
      if (this.#turns.get(name) === turn) this.#turns.delete(name)
    }
  }

  /** @param {string} name */
  async #open(name) {
    const bytes = await this.#read(name)
    return bytes ? this.#model.restoreSession(bytes) : this.#model.createSession()
  }

  /** @param {string} name */
  async #read(name) {
    try {
      return new Uint8Array(await readFile(this.#path(name)))
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== 'ENOENT') throw error
      return undefined
    }
  }

  /**
   * @param {string} name
   * @param {Uint8Array} bytes
   */
  async #save(name, bytes) {
    await mkdir(this.#folder, { recursive: true })
    const partial = `${this.#path(name)}.partial`
    await writeFile(partial, bytes)
    await rename(partial, this.#path(name)) // whole or not at all
  }

  /** @param {string} name */
  #path(name) {
    return join(this.#folder, `${name}.session`)
  }
}
