import { getEventListeners } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync, openSync, closeSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { type ModelSource, readModelFiles } from '../../src/io/model-files.js'
import type { LoadProgress } from '../../src/io/read-options.js'
import { expectRejects } from '../support/errors.js'
import { expectModel, shardedModel, singleFileModel } from '../support/model-folder.js'
import { float32Entry, safetensorsOf, writeSafetensors } from '../support/write-safetensors.js'

const folders: string[] = []
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })))

function folderOf(files: ReadonlyMap<string, Uint8Array>): string {
  const folder = mkdtempSync(join(tmpdir(), 'model files '))
  folders.push(folder)
  for (const [name, bytes] of files) writeFileSync(join(folder, name), bytes)
  return folder
}

const picked = (files: ReadonlyMap<string, Uint8Array>) =>
  [...files].map(([name, bytes]) => new File([bytes as Uint8Array<ArrayBuffer>], name))

/** The ways to the same files, without a network. */
const sources: [string, (files: Map<string, Uint8Array>) => ModelSource][] = [
  ['a Map', (files) => files],
  ['a list of files', picked],
  ['a path', folderOf],
  ['a path with a slash at its end', (files) => `${folderOf(files)}/`],
  ['a file URL', (files) => pathToFileURL(folderOf(files))],
]

describe.each(sources)('a model from %s', (_, sourceOf) => {
  it('is read with its weights in one file', async () => {
    expectModel(await readModelFiles(sourceOf(singleFileModel())))
  })

  it('is read with its weights in shards', async () => {
    expectModel(await readModelFiles(sourceOf(shardedModel())))
  })

  it('is read from the single file even if there are shards as well', async () => {
    const files = new Map([...shardedModel(), ...singleFileModel()])
    files.set('one.safetensors', new Uint8Array(3))
    expectModel(await readModelFiles(sourceOf(files)))
  })

  it('may lack a tokenizer', async () => {
    const files = singleFileModel()
    files.delete('tokenizer.json')
    expect((await readModelFiles(sourceOf(files))).tokenizer).toBeUndefined()
  })

  it('is rejected with the names of the files that are missing', async () => {
    const files = shardedModel()
    files.delete('one.safetensors')
    files.delete('two.safetensors')
    await expectRejects(readModelFiles(sourceOf(files)), 'BAD_FILE', /lacks one\.safetensors .*, two\.safetensors /)
    files.delete('model.safetensors.index.json')
    await expectRejects(readModelFiles(sourceOf(files)), 'BAD_FILE', /lacks model\.safetensors .*, model\.safetensors\.index\.json /)
    files.delete('config.json')
    await expectRejects(readModelFiles(sourceOf(files)), 'BAD_FILE', /lacks config\.json/)
  })

  it.each(['config.json', 'model.safetensors'])('is rejected when its %s is empty or cut off', async (name) => {
    for (const length of [0, 5]) {
      const files = singleFileModel()
      files.set(name, files.get(name)!.subarray(0, length))
      await expectRejects(readModelFiles(sourceOf(files)), 'BAD_FILE', new RegExp(name))
    }
  })

  it('reports its progress after every file, in bytes', async () => {
    for (const files of [singleFileModel(), shardedModel()]) {
      const events: LoadProgress[] = []
      await readModelFiles(sourceOf(files), { onProgress: (progress) => events.push(progress) })
      files.delete('README.md')
      const size = [...files.values()].reduce((sum, bytes) => sum + bytes.length, 0)
      expect(events.length).toBeGreaterThanOrEqual(files.size)
      expect(events.at(-1)).toEqual({ type: 'load', done: size, total: size })
      for (const [i, { type, done, total }] of events.entries()) {
        expect(type).toBe('load')
        expect(done).toBeLessThanOrEqual(total)
        expect(done).toBeGreaterThanOrEqual(events[i - 1]?.done ?? 1)
      }
    }
  })

  it('is cancelled at any progress event, with the reason of the signal, on which no listener stays', async () => {
    for (let at = 1; at <= 4; at++) {
      const controller = new AbortController()
      const { signal } = controller
      let events = 0
      const onProgress = () => {
        if (++events === at) controller.abort('enough')
      }
      await expect(readModelFiles(sourceOf(shardedModel()), { signal, onProgress })).rejects.toBe('enough')
      expect(events).toBe(at)
      expect(getEventListeners(signal, 'abort')).toEqual([])
    }
    const { signal } = new AbortController()
    await readModelFiles(sourceOf(shardedModel()), { signal })
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  it('is not begun when the signal is aborted already', async () => {
    const reason = new Error('too late')
    await expect(readModelFiles(sourceOf(singleFileModel()), { signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  it('is rejected with the error that onProgress or a parser throws', async () => {
    const fail = (what: string) => () => {
      throw new Error(what)
    }
    await expect(readModelFiles(sourceOf(singleFileModel()), { onProgress: fail('progress') })).rejects.toThrow('progress')
    await expect(readModelFiles(sourceOf(singleFileModel()), {}, { config: fail('config') })).rejects.toThrow('config')
    await expect(readModelFiles(sourceOf(singleFileModel()), {}, { tokenizer: fail('tokenizer') })).rejects.toThrow('tokenizer')
    for (const files of [singleFileModel(), shardedModel()])
      await expect(readModelFiles(sourceOf(files), {}, { weights: fail('weights') })).rejects.toThrow('weights')
  })

  it('is checked before its weights are read: the config first, then the tokenizer, then the headers', async () => {
    for (const files of [singleFileModel(), shardedModel()]) {
      const order: string[] = []
      const { config, tokenizer, weights } = await readModelFiles(
        sourceOf(files),
        {},
        {
          config: (json) => order.push(`config ${JSON.stringify(json)}`),
          tokenizer: async (bytes, config) => order.push(`tokenizer ${bytes.length} after ${config}`),
          weights: (tensors, config) =>
            order.push([...tensors].map(([name, { dtype, shape }]) => `${name} ${dtype} ${shape.join()}`).join('; ') + ` after ${config}`),
        },
      )
      expect(order).toEqual(['config {"dim":2}', 'tokenizer 20 after 1', 'a F32 2; b F32 1 after 1'])
      expect([config, tokenizer, weights]).toEqual([1, 2, 3]) // what each returned
    }
  })
})

describe('shards', () => {
  const refused: [string, RegExp, (files: Map<string, Uint8Array>) => void][] = [
    [
      'when the index puts a tensor where it is not',
      /puts 1 tensors in two\.safetensors .*"b"/,
      (files) => files.set('two.safetensors', writeSafetensors({ c: float32Entry([3]) })),
    ],
    [
      'when two hold the same tensor',
      /"a" is in two\.safetensors and in another/,
      (files) => files.set('two.safetensors', writeSafetensors({ b: float32Entry([3]), a: float32Entry([1, 2]) })),
    ],
    ['when one is no safetensors file', /two\.safetensors/, (files) => files.set('two.safetensors', safetensorsOf('x'))],
    [
      'when the index is broken',
      /model\.safetensors\.index\.json/,
      (files) => files.set('model.safetensors.index.json', new Uint8Array(1)),
    ],
    [
      'when the index leaves the folder',
      /plain file name/,
      (files) => files.set('model.safetensors.index.json', Buffer.from('{"weight_map":{"a":"../one.safetensors"}}')),
    ],
  ]
  it.each(refused)('are rejected %s', async (_, message, change) => {
    const files = shardedModel()
    change(files)
    await expectRejects(readModelFiles(files), 'BAD_FILE', message)
  })

  it('may hold a tensor that the index does not name', async () => {
    const files = shardedModel()
    files.set('two.safetensors', writeSafetensors({ b: float32Entry([3]), c: float32Entry([4]) }))
    expect([...(await readModelFiles(files)).tensors.keys()]).toEqual(['a', 'b', 'c'])
  })

  it('that are modified after their headers were read are rejected', async () => {
    const changed = shardedModel().set('two.safetensors', writeSafetensors({ b: { dtype: 'I32', shape: [1], bytes: new Uint8Array(4) } }))
    let reads = 0
    const files = [...shardedModel()].map(([name, bytes]) => ({
      name,
      size: bytes.length,
      arrayBuffer: () => Promise.reject(new Error('it is read in slices')),
      slice: (start: number, end: number) => {
        if (name === 'two.safetensors' && start === 0) reads++
        const now = reads > 1 ? changed.get(name)! : bytes
        return { arrayBuffer: () => new Blob([now.slice(start, end)]).arrayBuffer() }
      },
    }))
    await expectRejects(readModelFiles(files), 'BAD_FILE', /two\.safetensors was written to while the model was being read/)
    expect(reads).toBe(2)
  })

  it('of novels-10m are read', async () => {
    const { tensors } = await readModelFiles('models/novels-10m')
    expect([...tensors.values()].reduce((sum, { bytes }) => sum + bytes.length, 0)).toBe(19_999_232)
  })
})

describe('a folder', () => {
  /** A file of 3 GiB that takes no room on the disk. */
  function bigFile(folder: string, header: string): void {
    const path = join(folder, 'model.safetensors')
    closeSync(openSync(path, 'w'))
    writeFileSync(path, safetensorsOf(header))
    truncateSync(path, 3 * 2 ** 30)
  }

  it('with a file of 3 GiB is rejected by its header alone', async () => {
    const folder = folderOf(singleFileModel())
    bigFile(folder, '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}')
    await expectRejects(readModelFiles(folder), 'BAD_FILE', /describes \d+ bytes, and it has 3221225472/)
  })

  it('with a file of 3 GiB is rejected by the names of its tensors alone', async () => {
    const folder = folderOf(singleFileModel())
    const header = (size: number) => `{"a":{"dtype":"U8","shape":[${size}],"data_offsets":[0,${size}]}}`
    const size = 3 * 2 ** 30 - 8 - header(3 * 2 ** 30 - 100).length
    bigFile(folder, header(size))
    const refuse = () => {
      throw new Error('not these')
    }
    await expect(readModelFiles(folder, {}, { weights: refuse })).rejects.toThrow('not these')
  })

  it('with a config or a tokenizer of 3 GiB is rejected without reading it', async () => {
    for (const name of ['config.json', 'tokenizer.json']) {
      const folder = folderOf(singleFileModel())
      truncateSync(join(folder, name), 3 * 2 ** 30)
      await expectRejects(readModelFiles(folder), 'BAD_FILE', new RegExp(`${name} has more than the 100000000 bytes`))
    }
  })

  it('whose entries are not files is rejected', async () => {
    const folder = folderOf(singleFileModel())
    rmSync(join(folder, 'config.json'))
    mkdirSync(join(folder, 'config.json'))
    await expectRejects(readModelFiles(folder), 'BAD_FILE', /config\.json is not a file/)
  })

  it('that does not exist, or is a file, is rejected as lacking its config', async () => {
    await expectRejects(readModelFiles('/no/such/folder'), 'BAD_FILE', /lacks config\.json/)
    await expectRejects(readModelFiles('package.json'), 'BAD_FILE', /lacks config\.json/)
    await expectRejects(readModelFiles('a\0b'), 'BAD_FILE')
  })
})

describe('a list of files', () => {
  it('may hold objects that only resemble a File', async () => {
    const files = [...singleFileModel()].map(([name, bytes]) => ({
      name,
      size: bytes.length,
      arrayBuffer: async () => new Uint8Array(bytes).buffer,
    }))
    expectModel(await readModelFiles(files))
  })

  it('is rejected if a required file occurs twice', async () => {
    const files = picked(singleFileModel())
    const another = (name: string) => new File(['{}'], name)
    expectModel(await readModelFiles([...files, another('README.md')]))
    await expectRejects(readModelFiles([...files, another('config.json')]), 'BAD_FILE', /config\.json .* more than once/)
  })

  it('is rejected if a file can no longer be read', async () => {
    const gone = { name: 'config.json', size: 5, arrayBuffer: () => Promise.reject(new Error('moved away')) }
    await expectRejects(readModelFiles([gone]), 'BAD_FILE', /config\.json: moved away/)
  })
})

describe('bytes', () => {
  it('are neither changed nor detached', async () => {
    const files = shardedModel()
    await readModelFiles(files)
    expect(files).toEqual(shardedModel())
  })

  it('may be of shared memory, or buffers of Node', async () => {
    const shared = new Map(
      [...singleFileModel()].map(([name, bytes]) => {
        const copy = new Uint8Array(new SharedArrayBuffer(bytes.length))
        copy.set(bytes)
        return [name, copy]
      }),
    )
    expectModel(await readModelFiles(shared))
    expectModel(await readModelFiles(new Map([...singleFileModel()].map(([name, bytes]) => [name, Buffer.from(bytes)]))))
  })

  it('may carry a byte order mark in JSON', async () => {
    const files = singleFileModel()
    files.set('config.json', Buffer.concat([Buffer.from('\ufeff'), files.get('config.json')!]))
    expectModel(await readModelFiles(files))
  })
})

describe('arguments', () => {
  it.each([
    null,
    undefined,
    5,
    '',
    {},
    new Date(0),
    new Uint8Array(2),
    new URL('data:text/plain,x'),
    'https://models.example/novels',
    ['config.json'],
    [null],
  ])('rejected as a source: %j', async (source) => {
    await expectRejects(readModelFiles(source as never), 'BAD_ARGUMENT')
  })

  it('rejected as a value of the Map', async () => {
    await expectRejects(
      readModelFiles(new Map([['config.json', '{}']]) as never),
      'BAD_ARGUMENT',
      /config\.json in the Map must be a Uint8Array/,
    )
  })

  it('a path is UNSUPPORTED where there is no file system', async () => {
    const { getBuiltinModule } = process
    try {
      process.getBuiltinModule = undefined as never
      await expectRejects(readModelFiles('models/novels-10m'), 'UNSUPPORTED', /file system/)
      await expectRejects(readModelFiles(new URL('file:///models')), 'UNSUPPORTED', /file system/)
    } finally {
      process.getBuiltinModule = getBuiltinModule
    }
  })
})

it('the config of novels-10m is returned as config', async () => {
  expect((await readModelFiles('models/novels-10m')).config).toEqual(JSON.parse(readFileSync('models/novels-10m/config.json', 'utf8')))
})
