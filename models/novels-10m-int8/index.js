/** The folder of this package, for `LanguageModel.load`. (Not `new URL('.', import.meta.url)`, which bundlers take for an asset.) */
export default new URL(import.meta.url.replace(/[^/]*$/, ''))
