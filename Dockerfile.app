# The page to drop photos on, from an exported model alone: no training packages, no photos.
#   img2gps export --run STUDY --to DIR --format app
#   docker build -t where DIR
#   docker run --rm -p 127.0.0.1:7860:7860 --read-only --tmpfs /tmp where
FROM python:3.12-slim
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY . .
RUN useradd --no-create-home app
USER app
EXPOSE 7860
# Inside the container every address is meant; what reaches it is for `docker run -p` to say.
CMD ["python", "-m", "img2gps.inference.app", ".", "--host", "0.0.0.0", "--expose"]
