# The page to drop photos on, from an exported model alone: no training packages, no photos.
#   img2gps export --run STUDY --to DIR --format app
#   docker build -t where DIR
#   docker run --rm -p 127.0.0.1:7860:7860 --read-only --tmpfs /tmp where
FROM python:3.12-slim
RUN useradd --no-create-home app
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
USER app
EXPOSE 7860
# The container listens on every address of its own; `docker run -p` says who can reach it.
CMD ["python", "-m", "img2gps.inference.app", ".", "--host", "0.0.0.0", "--expose"]
