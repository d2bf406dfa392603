// The worker that holds the model, as a function of pictures.

export class Model {
  #worker = new Worker("worker.js", { type: "module" });
  #waiting = new Map();
  #next = 0;

  /** @param {object} events {loading(share), ready(backend, note, model), failed(reason)}; `model` tells files apart. */
  constructor(about, backend, events) {
    this.#worker.onmessage = ({ data }) => {
      if (data.kind === "loading") events.loading(data.share);
      else if (data.kind === "ready") events.ready(data.backend, data.note, data.model);
      else if (data.kind === "failed") events.failed(data.reason);
      else this.#settle(data);
    };
    this.#worker.onerror = (event) => events.failed(event.message || "its thread could not be started");
    this.#worker.postMessage({ kind: "load", about, backend });
  }

  /**
   * @param {Blob | ImageBitmap} source a bitmap is given away.
   * @returns {Promise<object>} {bitmap, width, height, results, milliseconds}, a result of each head.
   */
  run(source) {
    return this.#ask({ kind: "run", source }, source instanceof ImageBitmap ? [source] : []);
  }

  /**
   * @param {number} number of a picture of the exam; one after the other.
   * @returns {Promise<object | null>} after the last one the verdict, see exam.js.
   */
  async examine(number) {
    return (await this.#ask({ kind: "examine", number })).report;
  }

  #ask(message, transfer = []) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...message, id }, transfer);
    });
  }

  #settle(data) {
    const { resolve, reject } = this.#waiting.get(data.id);
    this.#waiting.delete(data.id);
    if (data.kind === "answer") resolve(data);
    else reject(Object.assign(new Error(data.reason), { unreadable: data.unreadable }));
  }
}
